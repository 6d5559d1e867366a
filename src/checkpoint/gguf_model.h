#pragma once

#include <string>
#include <vector>

#include "checkpoint/gguf_file.h"
#include "model/weights.h"

namespace fathom {

/// Points weights at the tensors of a GGUF file, under llama.cpp's names, in place. All mismatches
/// are listed in one Error.
///
/// Converters since April 2025 split kv_b_proj and transpose its key half: with read_values it is
/// put together again, in memory added to `owned` (as F16, or BF16 or F32 where the file has them).
/// Rotary pairs lie interleaved as in the published checkpoints: nothing is permuted.
void bind_gguf(const GgufReader& reader, const ModelConfig& config, ModelWeights& weights,
               bool read_values, const std::string& source, std::vector<Tensor>& owned);

}  // namespace fathom
