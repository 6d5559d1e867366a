#include "checkpoint/gguf_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <unordered_set>

#include "base/error.h"
#include "checkpoint/weight_format.h"
#include "checkpoint/weight_matcher.h"
#include "checkpoint/working_context.h"
#include "kernels/stored_weights.h"
#include "numerics/bf16.h"
#include "numerics/f16.h"

namespace fathom {
namespace {

constexpr size_t kMaxProblemsShown = 8;

/// Where a parameter lies: a tensor, or one expert's rows of a stacked one.
struct Place {
  std::string tensor;
  int64_t expert = -1;
};

const std::map<std::string_view, const char*>& module_names() {
  static const std::map<std::string_view, const char*> names = {
      {"input_layernorm.weight", "attn_norm.weight"},
      {"post_attention_layernorm.weight", "ffn_norm.weight"},
      {"self_attn.q_proj.weight", "attn_q.weight"},
      {"self_attn.q_a_proj.weight", "attn_q_a.weight"},
      {"self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight"},
      {"self_attn.q_b_proj.weight", "attn_q_b.weight"},
      {"self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight"},
      {"self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight"},
      {"self_attn.kv_b_proj.weight", "attn_kv_b.weight"},
      {"self_attn.o_proj.weight", "attn_output.weight"},
      {"mlp.gate_proj.weight", "ffn_gate.weight"},
      {"mlp.up_proj.weight", "ffn_up.weight"},
      {"mlp.down_proj.weight", "ffn_down.weight"},
      {"mlp.gate.weight", "ffn_gate_inp.weight"},
      {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias"},
      {"mlp.shared_experts.gate_proj.weight", "ffn_gate_shexp.weight"},
      {"mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight"},
      {"mlp.shared_experts.down_proj.weight", "ffn_down_shexp.weight"},
      {"enorm.weight", "nextn.enorm.weight"},
      {"hnorm.weight", "nextn.hnorm.weight"},
      {"eh_proj.weight", "nextn.eh_proj.weight"},
      {"shared_head.norm.weight", "nextn.shared_head_norm.weight"},
  };
  return names;
}

Place place_in_layer(int64_t layer, std::string_view module) {
  constexpr std::string_view kExperts = "mlp.experts.";
  if (!module.starts_with(kExperts))
    return {fmt::format("blk.{}.{}", layer, module_names().at(module))};
  Place place;
  const char* begin = module.data() + kExperts.size();
  const auto [end, code] = std::from_chars(begin, module.data() + module.size(), place.expert);
  FATHOM_ASSERT(code == std::errc());
  const std::string_view kind(end + 1, module.data() + module.size() - end - 1);
  const std::string_view name = kind.substr(0, kind.find('_'));  // gate, up, down
  place.tensor = fmt::format("blk.{}.ffn_{}_exps.weight", layer, name);
  return place;
}

Place place_of(const std::string& name) {
  if (name == "model.embed_tokens.weight") return {"token_embd.weight"};
  if (name == "model.norm.weight") return {"output_norm.weight"};
  if (name == "lm_head.weight") return {"output.weight"};
  constexpr std::string_view kPrefix = "model.layers.";
  int64_t layer = 0;
  const char* stop = name.data() + name.size();
  const auto [end, code] = std::from_chars(name.data() + kPrefix.size(), stop, layer);
  FATHOM_ASSERT(code == std::errc());
  return place_in_layer(layer, std::string_view(end + 1, stop - end - 1));
}

class Binder {
 public:
  Binder(const GgufReader& reader, const ModelConfig& config, bool read_values,
         std::vector<Tensor>& owned)
      : reader_(reader), config_(config), read_values_(read_values), owned_(owned) {}

  void take(const ParameterInfo& info, Parameter& p) {
    const Place place = place_of(info.name);
    if (info.name.ends_with("kv_b_proj.weight") && !reader_.find(place.tensor))
      return take_split_kv_b(info, place.tensor, p);
    std::vector<int64_t> shape = info.shape;
    if (place.expert >= 0) shape.insert(shape.begin(), config_.n_routed_experts);
    const GgufTensor* tensor = find(place.tensor, shape);
    if (!tensor) return;
    kernels::GemmInput matrix = reader_.matrix(*tensor);
    if (place.expert >= 0) matrix = matrix.row_range(place.expert * info.shape[0], info.shape[0]);
    bind(info, tensor->name, matrix, p);
  }

  /// Of a layer whose kv_b_proj was taken from two halves: these, in place.
  void take_absorbed(int64_t layer, MlaWeights& w) const {
    const std::string prefix = fmt::format("blk.{}.attn_", layer);
    const GgufTensor* k_b = reader_.find(prefix + "k_b.weight");
    const GgufTensor* v_b = reader_.find(prefix + "v_b.weight");
    if (!k_b || !v_b) return;
    w.absorbed_key = reader_.matrix(*k_b);
    w.absorbed_value = reader_.matrix(*v_b);
  }

  void report_unknown() {
    for (const std::string& name : reader_.names()) {
      const bool unused = name == "rope_freqs.weight" || name.ends_with(".attn_rot_embd") ||
                          name.ends_with(".nextn.embed_tokens.weight") ||
                          name.ends_with(".nextn.shared_head_head.weight");
      if (!used_.contains(name) && !unused)
        problems_.push_back(fmt::format("tensor {} is not part of the model", name));
    }
  }

  void throw_problems(const std::string& source) const {
    if (problems_.empty()) return;
    std::string text =
        fmt::format("{}: {} of the weights do not fit the metadata:", source, problems_.size());
    for (size_t i = 0; i < std::min(problems_.size(), kMaxProblemsShown); ++i)
      text += fmt::format("{} {}", i ? ";" : "", problems_[i]);
    throw Error(text, "get the file again, or convert the model again");
  }

 private:
  /// Null, and a problem, when there is no such tensor of this shape.
  const GgufTensor* find(const std::string& name, const std::vector<int64_t>& shape) {
    used_.insert(name);
    const GgufTensor* tensor = reader_.find(name);
    if (!tensor) {
      problems_.push_back(fmt::format("tensor {} is missing", name));
    } else if (tensor->shape != shape) {
      problems_.push_back(fmt::format("tensor {} has shape [{}], the metadata ask for [{}]", name,
                                      fmt::join(tensor->shape, ", "), fmt::join(shape, ", ")));
      tensor = nullptr;
    }
    return tensor;
  }

  void bind(const ParameterInfo& info, const std::string& tensor, const kernels::GemmInput& matrix,
            Parameter& p) {
    const bool vector = info.shape.size() == 1;
    const bool f32 = matrix.format == StorageFormat::kF32;
    if (vector && !f32)
      return problems_.push_back(fmt::format("tensor {} is {}: norms and biases are F32", tensor,
                                             info_of(matrix.format).name));
    if (f32 || matrix.format == StorageFormat::kBF16) {
      p.weight = as_mutable(matrix.values);
      if (vector) p.weight = TensorView(p.weight.data, DType::kF32, {info.shape[0]});
    } else {
      p.quantized = matrix;
    }
  }

  /// attn_k_b [H, C, nope] and attn_v_b [H, v, C] make kv_b [H·(nope+v), C].
  void take_split_kv_b(const ParameterInfo& info, const std::string& whole, Parameter& p) {
    const std::string prefix = whole.substr(0, whole.rfind("kv_b"));
    const int64_t heads = config_.num_attention_heads, latent = config_.kv_lora_rank;
    const int64_t nope = config_.qk_nope_head_dim, v = config_.v_head_dim;
    const GgufTensor* k_b = find(prefix + "k_b.weight", {heads, latent, nope});
    const GgufTensor* v_b = find(prefix + "v_b.weight", {heads, v, latent});
    if (!k_b || !v_b || !read_values_ || !problems_.empty()) return;
    owned_.push_back(make_tensor(assembled_dtype(*k_b), info.shape));
    assemble(reader_.matrix(*k_b), reader_.matrix(*v_b), owned_.back());
    const ConstTensorView view = owned_.back();
    if (view.dtype == DType::kF16)
      p.quantized = view;
    else
      p.weight = as_mutable(view);
  }

  static DType assembled_dtype(const GgufTensor& t) {
    if (t.format == StorageFormat::kF32) return DType::kF32;
    return t.format == StorageFormat::kBF16 ? DType::kBF16 : DType::kF16;
  }

  void assemble(const kernels::GemmInput& k_b, const kernels::GemmInput& v_b, TensorView to) {
    if (!work_) work_.emplace();
    const int64_t heads = config_.num_attention_heads, latent = config_.kv_lora_rank;
    const int64_t nope = config_.qk_nope_head_dim, v = config_.v_head_dim;
    const Tensor k_CN(DType::kF32, {latent, nope}), head_XC(DType::kF32, {nope + v, latent});
    float* out = head_XC.as<float>();
    for (int64_t h = 0; h < heads; ++h) {
      kernels::decode_weights(work_->context, k_b.row_range(h * latent, latent), k_CN);
      for (int64_t c = 0; c < latent; ++c)
        for (int64_t n = 0; n < nope; ++n) out[n * latent + c] = k_CN.as<float>()[c * nope + n];
      kernels::decode_weights(work_->context, v_b.row_range(h * v, v),
                              head_XC.view().row_range(nope, v));
      narrow(head_XC, to.row_range(h * (nope + v), nope + v));
    }
  }

  static void narrow(const ConstTensorView& from, const TensorView& to) {
    const float* x = from.as<float>();
    for (int64_t i = 0; i < from.elements(); ++i) {
      if (to.dtype == DType::kF32)
        static_cast<float*>(to.data)[i] = x[i];
      else if (to.dtype == DType::kBF16)
        static_cast<BF16*>(to.data)[i] = to_bf16(x[i]);
      else
        static_cast<F16*>(to.data)[i] = to_f16(x[i]);
    }
  }

  const GgufReader& reader_;
  const ModelConfig& config_;
  bool read_values_;
  std::vector<Tensor>& owned_;
  std::optional<WorkingContext> work_;
  std::unordered_set<std::string> used_;
  std::vector<std::string> problems_;
};

}  // namespace

void bind_gguf(const GgufReader& reader, const ModelConfig& config, ModelWeights& weights,
               bool read_values, const std::string& source, std::vector<Tensor>& owned) {
  Binder binder(reader, config, read_values, owned);
  for_each_parameter(config, weights,
                     [&](const ParameterInfo& info, Parameter& p) { binder.take(info, p); });
  if (config.tie_word_embeddings) weights.lm_head = weights.embed_tokens;
  binder.report_unknown();
  binder.throw_problems(source);
  int64_t layer = 0;
  for (BlockWeights& w : weights.layers) binder.take_absorbed(layer++, w.self_attn);
  for (MtpWeights& w : weights.mtp) binder.take_absorbed(layer++, w.block.self_attn);
}

}  // namespace fathom
