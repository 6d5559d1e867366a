#pragma once

#include <vector>

#include "model/config.h"

namespace fathom {

/// cos and sin of position·freq_i for the decoupled rope part, F32 [positions, R/2], with YaRN's
/// frequency blend when the config has it (spec A.3). Angles are computed in FP64.
struct RopeTable {
  RopeTable(const ModelConfig& config, int64_t positions);

  Tensor cos_PI, sin_PI;
  int64_t positions() const { return cos_PI.view().rows(); }
};

/// freq_i = θ^(-2i/R), blended by YaRN; i < R/2.
std::vector<double> rope_frequencies(const ModelConfig& config);

}  // namespace fathom
