#pragma once

#include <string>

#include "dist/expert_placement.h"

namespace fathom::dist {

/// Heat maps of the load of every GPU (columns) in every layer (rows), in order and as placed, on
/// one scale: white is no load, the darkest the largest of a layer when experts lie in order.
std::string placement_svg(const LayerLoads& loads, const ExpertPlacement& placement, int gpus);

}  // namespace fathom::dist
