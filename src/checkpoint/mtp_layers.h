#pragma once

#include <string>

#include "model/config.h"

namespace fathom {

/// Where MTP modules stand that are not in the shards.
inline constexpr const char* kMtpFile = "mtp.safetensors";

/// transformers ignores unexpected tensors of layer 61 alone, where V3 has its MTP module.
bool mtp_in_shards(const ModelConfig& config);
/// Whether a tensor belongs to one of the layers num_hidden_layers + k.
bool is_mtp_name(const ModelConfig& config, const std::string& name);

}  // namespace fathom
