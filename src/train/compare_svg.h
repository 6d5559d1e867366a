#pragma once

#include <span>
#include <string>

#include "train/compare_curves.h"

namespace fathom::train {

/// Panels as SVG: the smoothed losses, the relative errors in percent over the report's band of
/// ±0.25% (appendix B), and the load balance of models with experts, from the first step. `names`:
/// of each run. The first two begin after the warm-up, before which losses fall so steeply that
/// nothing else would be seen; errors beyond ±5% run along the edge.
std::string draw_comparison(const Comparison& comparison, std::span<const std::string> names);

}  // namespace fathom::train
