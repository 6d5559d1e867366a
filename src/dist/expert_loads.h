#pragma once

#include <string>
#include <string_view>

#include "dist/expert_placement.h"

namespace fathom::dist {

/// Reads the loads of experts from the text of a file; `source` is its name in errors. One of
///   JSON        [[90, 132, …], …]: layers of experts, or an object with that as "expert_loads";
///   JSON lines  objects (a run's metrics.jsonl): "expert_loads" of those that have it are summed;
///   CSV         a line a layer, a column an expert, numbers only.
/// Throws Error naming the place unless these are loads that place_experts accepts.
LayerLoads parse_expert_loads(std::string_view text, const std::string& source);

}  // namespace fathom::dist
