#pragma once

#include <string>
#include <vector>

#include "model/config.h"
#include "model/pass.h"

namespace fathom {

/// A tensor that a forward pass keeps for its backward.
struct KeptTensor {
  std::string name, format;  ///< "residual before attention", "E4M3 1x128"
  double bytes_per_token = 0;
};

/// What the structs BlockSaved, MlaSaved, MoeSaved and MlpSaved of one layer hold in a pass with
/// such options. layer: MTP modules' follow the main model's. balanced: with the balance loss.
std::vector<KeptTensor> kept_by_layer(const ModelConfig& config, int64_t layer,
                                      const PassOptions& options, bool balanced);
/// What is kept once: residual stream, representation and its gradient, memory shared by layers.
std::vector<KeptTensor> kept_by_pass(const ModelConfig& config, const PassOptions& options);
/// Besides its layer, what an MTP module keeps.
std::vector<KeptTensor> kept_by_mtp(const ModelConfig& config, const PassOptions& options);

double bytes_per_token(const std::vector<KeptTensor>& tensors);
/// Of a whole training pass, MTP included.
double kept_bytes_per_token(const ModelConfig& config, const PassOptions& options, bool balanced);

}  // namespace fathom
