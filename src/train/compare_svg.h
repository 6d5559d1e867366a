#pragma once

#include <span>
#include <string>

#include "train/compare_curves.h"

namespace fathom::train {

/// Two panels as SVG: the smoothed losses, and the relative errors in percent over the report's
/// band of ±0.25% (appendix B). `names`: of each run. Both begin after the warm-up, before which
/// losses fall so steeply that nothing else would be seen; errors beyond ±5% run along the edge.
std::string draw_comparison(const Comparison& comparison, std::span<const std::string> names);

}  // namespace fathom::train
