#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"
#include "report.h"

namespace fathom::app {

/// What the benchmarks of whole models share.
std::vector<int32_t> random_tokens(const ModelConfig& config, int64_t count, uint64_t seed);
void add_parameters(Report& row, const ModelConfig& config);

}  // namespace fathom::app
