#pragma once

#include <cstdint>

#include "model/config.h"

namespace fathom {

/// Parameters of a model (spec A.8): weights, norms, and the gate's correction bias.
struct ParameterCount {
  int64_t attention = 0;        ///< one layer's MLA with its norms of the latents
  int64_t expert = 0;           ///< one routed expert; 0 in a dense model
  int64_t dense_layer = 0;      ///< a whole layer with the dense feed-forward network
  int64_t moe_layer = 0;        ///< a whole layer with the experts; 0 in a dense model
  int64_t embedding = 0;        ///< vocab_size · hidden_size; the output head has as many
  int64_t total = 0;            ///< embedding, layers, final norm, head; without MTP
  int64_t active = 0;           ///< of total, what one token uses: its experts, the whole embedding
  int64_t active_no_embed = 0;  ///< active without the embedding, of which a token reads one row
  int64_t mtp = 0;              ///< all MTP modules, without the embedding and head they share
};

ParameterCount count_parameters(const ModelConfig& config);

/// Bytes that a token adds to the latent cache, over all main layers: 70,272 for V3 in BF16.
int64_t kv_bytes_per_token(const ModelConfig& config, int64_t bytes_per_value = 2);

}  // namespace fathom
