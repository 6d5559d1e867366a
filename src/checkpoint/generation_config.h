#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "model/config.h"

namespace fathom {

/// eos_token_id of the directory's generation_config.json, one id or a list; empty where there is
/// no such file or field. Throws Error for what is no id of the model's vocabulary.
std::vector<int64_t> read_generation_eos(const std::filesystem::path& directory,
                                         const ModelConfig& config);

}  // namespace fathom
