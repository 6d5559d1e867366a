#include "model/weights.h"

#include <fmt/format.h>

#include "base/philox.h"
#include "numerics/bf16.h"

namespace fathom {
namespace {

using Visit = std::function<void(const ParameterInfo&, Parameter&)>;

// Visits the parameters of one module: names are prefix + suffix + ".weight".
class Visitor {
 public:
  Visitor(const ModelConfig& config, const Visit& visit) : c_(config), visit_(visit) {}

  void matrix(const std::string& name, Parameter& p, int64_t rows, int64_t cols) const {
    visit_({name + ".weight", {rows, cols}, ParameterKind::kMatrix}, p);
  }
  void norm(const std::string& name, Parameter& p, int64_t width) const {
    visit_({name + ".weight", {width}, ParameterKind::kNorm}, p);
  }

  void attention(const std::string& prefix, MlaWeights& w) const {
    const int64_t d = c_.hidden_size, heads = c_.num_attention_heads;
    if (c_.q_lora_rank > 0) {
      matrix(prefix + "q_a_proj", w.q_a_proj, c_.q_lora_rank, d);
      norm(prefix + "q_a_layernorm", w.q_a_layernorm, c_.q_lora_rank);
      matrix(prefix + "q_b_proj", w.q_b_proj, heads * c_.qk_head_dim(), c_.q_lora_rank);
    } else {
      matrix(prefix + "q_proj", w.q_proj, heads * c_.qk_head_dim(), d);
    }
    matrix(prefix + "kv_a_proj_with_mqa", w.kv_a_proj_with_mqa, c_.cache_width(), d);
    norm(prefix + "kv_a_layernorm", w.kv_a_layernorm, c_.kv_lora_rank);
    matrix(prefix + "kv_b_proj", w.kv_b_proj, heads * (c_.qk_nope_head_dim + c_.v_head_dim),
           c_.kv_lora_rank);
    matrix(prefix + "o_proj", w.o_proj, d, heads * c_.v_head_dim);
  }

  void mlp(const std::string& prefix, MlpWeights& w, int64_t width) const {
    matrix(prefix + "gate_proj", w.gate_proj, width, c_.hidden_size);
    matrix(prefix + "up_proj", w.up_proj, width, c_.hidden_size);
    matrix(prefix + "down_proj", w.down_proj, c_.hidden_size, width);
  }

  void moe(const std::string& prefix, MoeWeights& w) const {
    matrix(prefix + "gate", w.gate, c_.n_routed_experts, c_.hidden_size);
    if (c_.has_correction_bias())
      visit_({prefix + "gate.e_score_correction_bias",
              {c_.n_routed_experts},
              ParameterKind::kCorrectionBias},
             w.e_score_correction_bias);
    w.experts.resize(static_cast<size_t>(c_.n_routed_experts));
    for (size_t e = 0; e < w.experts.size(); ++e)
      mlp(fmt::format("{}experts.{}.", prefix, e), w.experts[e], c_.moe_intermediate_size);
    if (c_.n_shared_experts > 0)
      mlp(prefix + "shared_experts.", w.shared_experts,
          c_.n_shared_experts * c_.moe_intermediate_size);
  }

  void block(const std::string& prefix, BlockWeights& w, bool is_moe) const {
    norm(prefix + "input_layernorm", w.input_layernorm, c_.hidden_size);
    attention(prefix + "self_attn.", w.self_attn);
    norm(prefix + "post_attention_layernorm", w.post_attention_layernorm, c_.hidden_size);
    if (!is_moe) return mlp(prefix + "mlp.", w.mlp, c_.intermediate_size);
    if (!w.moe) w.moe.emplace();
    moe(prefix + "mlp.", *w.moe);
  }

  void mtp(const std::string& prefix, MtpWeights& w) const {
    const int64_t d = c_.hidden_size;
    norm(prefix + "enorm", w.enorm, d);
    norm(prefix + "hnorm", w.hnorm, d);
    matrix(prefix + "eh_proj", w.eh_proj, d, 2 * d);
    block(prefix, w.block, c_.n_routed_experts > 0);
    norm(prefix + "shared_head.norm", w.shared_head_norm, d);
  }

 private:
  const ModelConfig& c_;
  const Visit& visit_;
};

std::string layer_prefix(int64_t layer) {
  return fmt::format("model.layers.{}.", layer);
}

uint64_t hash_name(std::string_view name) {  // FNV-1a
  uint64_t h = 0xcbf29ce484222325u;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return h;
}

void fill_values(TensorView weight, const std::function<float(int64_t)>& value) {
  const int64_t n = weight.elements();
  if (weight.dtype == DType::kBF16)
    for (int64_t i = 0; i < n; ++i) weight.as<BF16>()[i] = to_bf16(value(i));
  else
    for (int64_t i = 0; i < n; ++i) weight.as<float>()[i] = value(i);
}

Tensor make_tensor(DType dtype, const std::vector<int64_t>& shape) {
  return shape.size() == 1 ? Tensor(dtype, {shape[0]}) : Tensor(dtype, {shape[0], shape[1]});
}

}  // namespace

void for_each_parameter(const ModelConfig& config, ModelWeights& weights, const Visit& visit) {
  const Visitor v(config, visit);
  const int64_t vocab = config.vocab_size, d = config.hidden_size;
  v.matrix("model.embed_tokens", weights.embed_tokens, vocab, d);
  weights.layers.resize(static_cast<size_t>(config.num_hidden_layers));
  for (int64_t l = 0; l < config.num_hidden_layers; ++l)
    v.block(layer_prefix(l), weights.layers[static_cast<size_t>(l)], config.is_moe_layer(l));
  v.norm("model.norm", weights.norm, d);
  if (config.tie_word_embeddings)
    weights.lm_head = weights.embed_tokens;
  else
    v.matrix("lm_head", weights.lm_head, vocab, d);
  weights.mtp.resize(static_cast<size_t>(config.num_nextn_predict_layers));
  for (int64_t k = 0; k < config.num_nextn_predict_layers; ++k)
    v.mtp(layer_prefix(config.num_hidden_layers + k), weights.mtp[static_cast<size_t>(k)]);
}

std::string without_expert_number(std::string name) {
  constexpr std::string_view kExperts = ".experts.";
  if (const size_t at = name.find(kExperts); at != std::string::npos) {
    const size_t number = at + kExperts.size();
    name.erase(number, name.find('.', number) + 1 - number);
  }
  return name;
}

std::vector<std::pair<std::string, std::string>> duplicate_names(const ModelConfig& config) {
  std::vector<std::pair<std::string, std::string>> names;
  const std::string head =
      config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  for (int64_t k = 0; k < config.num_nextn_predict_layers; ++k) {
    const std::string prefix = layer_prefix(config.num_hidden_layers + k);
    names.emplace_back(prefix + "embed_tokens.weight", "model.embed_tokens.weight");
    names.emplace_back(prefix + "shared_head.head.weight", head);
  }
  return names;
}

ModelStorage::ModelStorage(const ModelConfig& config, DType dtype, bool with_gradients) {
  for_each_parameter(config, weights, [&](const ParameterInfo& info, Parameter& p) {
    const bool is_bias = info.kind == ParameterKind::kCorrectionBias;
    tensors_.push_back(make_tensor(is_bias ? DType::kF32 : dtype, info.shape));
    p.weight = tensors_.back();
    if (!with_gradients || is_bias) return;
    tensors_.push_back(make_tensor(DType::kF32, info.shape));
    p.grad = tensors_.back();
  });
  if (config.tie_word_embeddings) weights.lm_head = weights.embed_tokens;
}

void initialize_parameter(const ModelConfig& config, const ParameterInfo& info, TensorView weight,
                          uint64_t seed) {
  const auto stddev = static_cast<float>(config.initializer_range);
  const Philox rng(seed, hash_name(info.name));
  switch (info.kind) {
    case ParameterKind::kMatrix: {
      std::array<float, 2> pair{};
      return fill_values(weight, [&](int64_t i) {
        if (i % 2 == 0) pair = rng.normal2(static_cast<uint64_t>(i / 2));
        return stddev * pair[static_cast<size_t>(i % 2)];
      });
    }
    case ParameterKind::kNorm:
      return fill_values(weight, [](int64_t) { return 1.0f; });
    case ParameterKind::kCorrectionBias:
      return fill_values(weight, [](int64_t) { return 0.0f; });
  }
}

void initialize(const ModelConfig& config, ModelWeights& weights, uint64_t seed) {
  for_each_parameter(config, weights, [&](const ParameterInfo& info, Parameter& p) {
    initialize_parameter(config, info, p.weight, seed);
  });
}

}  // namespace fathom
