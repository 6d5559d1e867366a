#pragma once

#include <cstdint>

#include "model/config.h"

namespace fathom {

/// Floating-point operations of training per token, counted as the paper does (spec H, Table 2):
/// 6 per active parameter that a token is multiplied with (the embedding is a look-up), plus
/// attention scores and values, half of them when `causal`. V3 at 4096: 250 GFLOP causal.
/// with_mtp adds the MTP modules and their pass through the head.
double training_flops_per_token(const ModelConfig& config, int64_t seq_len, bool causal,
                                bool with_mtp);

/// The same for one forward pass at a given context length.
double inference_flops_per_token(const ModelConfig& config, int64_t context);

/// Bytes that decoding one token reads: active weights once, and the latent cache of `context`
/// tokens. Over the memory bandwidth this bounds the decode speed of one sequence.
double decode_bytes_per_token(const ModelConfig& config, double weight_bytes, double cache_bytes,
                              int64_t context);

}  // namespace fathom
