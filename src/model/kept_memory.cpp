#include "model/kept_memory.h"

#include <fmt/format.h>

#include "kernels/e5m6.h"
#include "model/fp8_recipe.h"

namespace fathom {
namespace {

constexpr int64_t kF32 = 4, kI32 = 4;

/// Collects the tensors of one layer.
class Kept {
 public:
  Kept(const ModelConfig& config, const PassOptions& options) : c_(config), o_(options) {}

  bool fp8() const { return o_.fp8 && o_.recompute; }
  void f32(const char* name, int64_t values) { add(name, "F32", kF32 * values); }
  void i32(const char* name, int64_t values) { add(name, "I32", kI32 * values); }
  void activation(const char* name, int64_t values) {
    const bool wide = o_.precision == kernels::GemmPrecision::kF32;
    add(name, wide ? "F32" : "BF16", (wide ? 4 : 2) * values);
  }
  /// rows of `values` numbers each, E4M3 with a scale for each 128.
  void e4m3(const char* name, int64_t rows, int64_t values) {
    add(name, "E4M3 1x128", rows * (values + 4 * kernels::scale_cols(values, {1, 128})));
  }
  void residual(const char* name) {
    if (fp8())
      add(name, "BF16", 2 * c_.hidden_size);
    else
      f32(name, c_.hidden_size);
  }
  void add(const char* name, const char* format, int64_t bytes) {
    tensors_.push_back({name, format, static_cast<double>(bytes)});
  }
  std::vector<KeptTensor> take() { return std::move(tensors_); }

 private:
  const ModelConfig& c_;
  const PassOptions& o_;
  std::vector<KeptTensor> tensors_;
};

void add_attention(const ModelConfig& c, const PassOptions& o, Kept& kept) {
  const int64_t heads = c.num_attention_heads, out = heads * c.v_head_dim;
  kept.residual("residual before attention");
  kept.f32("1/rms before attention", 1);
  if (!o.recompute) kept.activation("input of attention", c.hidden_size);
  kept.f32("logsumexp of attention", heads);
  if (kept.fp8())
    kept.add("output of attention", "E5M6 1x128",
             kernels::e5m6_row_bytes(out) + kernels::e5m6_row_scales(out));
  else
    kept.activation("output of attention", out);
  const int64_t queries = heads * c.qk_head_dim();
  if (c.q_lora_rank > 0) kept.activation("query latent", c.q_lora_rank);
  if (c.q_lora_rank == 0 || !o.recompute) kept.activation("queries", queries);
  kept.activation("key-value latent and rope key", c.cache_width());
  if (o.recompute) return;
  kept.activation("normed key-value latent", c.kv_lora_rank);
  kept.f32("1/rms of latents", c.q_lora_rank > 0 ? 2 : 1);
  if (c.q_lora_rank > 0) kept.activation("normed query latent", c.q_lora_rank);
  kept.activation("keys and values", heads * (c.qk_nope_head_dim + c.v_head_dim));
}

bool in_fp8(const PassOptions& o, const std::string& gate_proj) {
  return o.fp8 && o.recompute && o.fp8->covers(gate_proj);
}

void add_gate_up(const char* name, int64_t rows, int64_t width, bool fp8, Kept& kept) {
  if (fp8)
    kept.e4m3(name, rows, 2 * width);
  else
    kept.activation(name, rows * 2 * width);
}

/// Whether rows are dispatched as E4M3: with the tiles that can be stored.
bool dispatches_fp8(const PassOptions& o, const std::string& gate_proj) {
  return o.fp8 && o.fp8->covers(gate_proj) && o.fp8->input_tile == kernels::kTile1x128;
}

void add_experts(const ModelConfig& c, const PassOptions& o, const std::string& prefix,
                 bool balanced, Kept& kept) {
  const int64_t top_k = c.num_experts_per_tok, width = c.moe_intermediate_size;
  const std::string gate_proj = prefix + "experts.0.gate_proj.weight";
  kept.f32("scores of experts", c.n_routed_experts * (balanced ? 2 : 1));
  kept.f32("routing weights", 2 * top_k);
  kept.i32("routing plan", 3 * top_k);
  if (dispatches_fp8(o, gate_proj))
    kept.e4m3("dispatched rows", top_k, c.hidden_size);
  else
    kept.activation("dispatched rows", top_k * c.hidden_size);
  add_gate_up("gate and up of routed experts", top_k, width, in_fp8(o, gate_proj), kept);
  if (c.n_shared_experts > 0)
    add_gate_up("gate and up of shared experts", 1, c.n_shared_experts * width,
                in_fp8(o, prefix + "shared_experts.gate_proj.weight"), kept);
}

}  // namespace

std::vector<KeptTensor> kept_by_layer(const ModelConfig& config, int64_t layer,
                                      const PassOptions& options, bool balanced) {
  Kept kept(config, options);
  const std::string prefix = fmt::format("model.layers.{}.mlp.", layer);
  add_attention(config, options, kept);
  kept.residual("residual before FFN");
  kept.f32("1/rms before FFN", 1);
  if (!options.recompute) kept.activation("input of FFN", config.hidden_size);
  const bool mtp = layer >= config.num_hidden_layers;
  if (mtp ? config.n_routed_experts > 0 : config.is_moe_layer(layer))
    add_experts(config, options, prefix, balanced, kept);
  else
    add_gate_up("gate and up", 1, config.intermediate_size,
                in_fp8(options, prefix + "gate_proj.weight"), kept);
  return kept.take();
}

std::vector<KeptTensor> kept_by_pass(const ModelConfig& config, const PassOptions& options) {
  Kept kept(config, options);
  const int64_t d = config.hidden_size;
  kept.f32("residual stream", d);
  kept.f32("representation, 1/rms", d + 1);
  kept.f32("gradient of the representation", d);
  if (options.recompute) kept.activation("normed input, shared by layers", d);
  if (kept.fp8()) kept.e4m3("normed input of attention, shared by layers", 1, d);
  if (config.n_routed_experts > 0)
    kept.activation("output of experts, shared by layers", config.num_experts_per_tok * d);
  return kept.take();
}

std::vector<KeptTensor> kept_by_mtp(const ModelConfig& config, const PassOptions& options) {
  Kept kept(config, options);
  const int64_t d = config.hidden_size;
  kept.f32("embedding", d);
  kept.f32("residual stream", d);
  kept.f32("1/rms", 3);
  if (!options.recompute) kept.activation("input of eh_proj", 2 * d);
  kept.f32("representation", d);
  kept.f32("gradient of the representation", d);
  return kept.take();
}

double bytes_per_token(const std::vector<KeptTensor>& tensors) {
  double sum = 0;
  for (const KeptTensor& t : tensors) sum += t.bytes_per_token;
  return sum;
}

double kept_bytes_per_token(const ModelConfig& config, const PassOptions& options, bool balanced) {
  double sum = bytes_per_token(kept_by_pass(config, options));
  const int64_t layers = config.num_hidden_layers, depth = config.num_nextn_predict_layers;
  for (int64_t l = 0; l < layers + depth; ++l)
    sum += bytes_per_token(kept_by_layer(config, l, options, balanced));
  return sum + static_cast<double>(depth) * bytes_per_token(kept_by_mtp(config, options));
}

}  // namespace fathom
