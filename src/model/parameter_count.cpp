#include "model/parameter_count.h"

namespace fathom {
namespace {

int64_t attention(const ModelConfig& c) {
  const int64_t q_out = c.num_attention_heads * c.qk_head_dim();
  const int64_t q = c.q_lora_rank == 0
                        ? c.hidden_size * q_out
                        : c.hidden_size * c.q_lora_rank + c.q_lora_rank + c.q_lora_rank * q_out;
  const int64_t kv_a = c.hidden_size * c.cache_width() + c.kv_lora_rank;
  const int64_t kv_b = c.kv_lora_rank * c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim);
  return q + kv_a + kv_b + c.num_attention_heads * c.v_head_dim * c.hidden_size;
}

int64_t swiglu(const ModelConfig& c, int64_t width) {
  return 3 * c.hidden_size * width;
}

int64_t layer(const ModelConfig& c, int64_t feed_forward) {
  return attention(c) + 2 * c.hidden_size + feed_forward;
}

int64_t moe_layer(const ModelConfig& c, int64_t routed_experts) {
  const int64_t bias = c.has_correction_bias() ? c.n_routed_experts : 0;
  const int64_t experts = routed_experts + c.n_shared_experts;
  return layer(
      c, c.n_routed_experts * c.hidden_size + bias + experts * swiglu(c, c.moe_intermediate_size));
}

int64_t mtp_module(const ModelConfig& c, int64_t block) {
  return block + 2 * c.hidden_size * c.hidden_size + 3 * c.hidden_size;
}

}  // namespace

ParameterCount count_parameters(const ModelConfig& c) {
  ParameterCount n;
  n.attention = attention(c);
  n.dense_layer = layer(c, swiglu(c, c.intermediate_size));
  n.embedding = c.vocab_size * c.hidden_size;
  int64_t active_moe_layer = 0;
  if (c.n_routed_experts > 0) {
    n.expert = swiglu(c, c.moe_intermediate_size);
    n.moe_layer = moe_layer(c, c.n_routed_experts);
    active_moe_layer = moe_layer(c, c.num_experts_per_tok);
  }
  n.total = n.active = n.embedding + c.hidden_size;
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    n.total += c.is_moe_layer(i) ? n.moe_layer : n.dense_layer;
    n.active += c.is_moe_layer(i) ? active_moe_layer : n.dense_layer;
  }
  if (!c.tie_word_embeddings) {
    n.total += n.embedding;
    n.active += n.embedding;
  }
  n.active_no_embed = c.tie_word_embeddings ? n.active : n.active - n.embedding;
  for (int64_t k = 0; k < c.num_nextn_predict_layers; ++k) {
    n.mtp += mtp_module(c, c.is_moe_layer(c.num_hidden_layers + k) ? n.moe_layer : n.dense_layer);
  }
  return n;
}

int64_t kv_bytes_per_token(const ModelConfig& c, int64_t bytes_per_value) {
  return c.cache_width() * c.num_hidden_layers * bytes_per_value;
}

}  // namespace fathom
