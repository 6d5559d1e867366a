#include "model/config_validate.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/json.h"

namespace fathom {
namespace {

using kernels::GateScoring;
using TopkMethod = ModelConfig::TopkMethod;

// Far above any real model; keeps products of sizes inside int64.
constexpr int64_t kMaxLayers = 1 << 14, kMaxDim = 1 << 24, kMaxExperts = 1 << 16;
constexpr int64_t kMaxPositions = int64_t{1} << 31;
constexpr double kMaxParameters = 1e16;

class Rules {
 public:
  Rules(const ModelConfig& config, ConfigProblems& problems) : c(config), problems_(problems) {}

  void check() {
    check_model_type(c, problems_);
    sizes();
    attention();
    if (c.n_routed_experts > 0) experts();
    rope();
    tokens();
    quantization();
    if (problems_.empty()) parameters();
  }

 private:
  void problem(std::string_view field, const std::string& message) {
    problems_.add(field, fmt::format("{} {}", field, message));
  }
  void within(std::string_view field, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
      problem(field, fmt::format("= {}: must be from {} to {}", value, low, high));
    }
  }
  void within(std::string_view field, double value, double low, double high) {
    if (!(value >= low && value <= high)) {
      problem(field, fmt::format("= {}: must be from {} to {}", value, low, high));
    }
  }

  void sizes() {
    within("vocab_size", c.vocab_size, 1, kMaxDim);
    within("hidden_size", c.hidden_size, 1, kMaxDim);
    within("intermediate_size", c.intermediate_size, 1, kMaxDim);
    within("num_hidden_layers", c.num_hidden_layers, 1, kMaxLayers);
    within("num_nextn_predict_layers", c.num_nextn_predict_layers, 0, 64);
    within("max_position_embeddings", c.max_position_embeddings, 1, kMaxPositions);
    within("rms_norm_eps", c.rms_norm_eps, 1e-20, 1);
    within("initializer_range", c.initializer_range, 0, 10);
  }

  void attention() {
    within("num_attention_heads", c.num_attention_heads, 1, 1 << 16);
    within("q_lora_rank", c.q_lora_rank, 0, kMaxDim);
    within("kv_lora_rank", c.kv_lora_rank, 1, kMaxDim);
    within("qk_nope_head_dim", c.qk_nope_head_dim, 1, 1 << 16);
    within("qk_rope_head_dim", c.qk_rope_head_dim, 2, 1 << 16);
    within("v_head_dim", c.v_head_dim, 1, 1 << 16);
    if (c.qk_rope_head_dim % 2 != 0) {
      problem("qk_rope_head_dim",
              fmt::format("= {}: must be even: rotation acts on pairs", c.qk_rope_head_dim));
    }
  }

  void experts() {
    within("n_routed_experts", c.n_routed_experts, 1, kMaxExperts);
    within("n_shared_experts", c.n_shared_experts, 0, kMaxExperts);
    within("moe_intermediate_size", c.moe_intermediate_size, 1, kMaxDim);
    within("first_k_dense_replace", c.first_k_dense_replace, 0, kMaxLayers);
    within("moe_layer_freq", c.moe_layer_freq, 1, kMaxLayers);
    within("n_group", c.n_group, 1, kMaxExperts);
    within("topk_group", c.topk_group, 1, kMaxExperts);
    within("num_experts_per_tok", c.num_experts_per_tok, 1, kMaxExperts);
    within("routed_scaling_factor", c.routed_scaling_factor, 1e-6, 1e6);
    if (problems_.clean({"first_k_dense_replace", "num_hidden_layers"}) &&
        c.first_k_dense_replace > c.num_hidden_layers) {
      problem("first_k_dense_replace", fmt::format("= {}: must be at most num_hidden_layers = {}",
                                                   c.first_k_dense_replace, c.num_hidden_layers));
    }
    if (problems_.clean({"n_group", "n_routed_experts", "topk_group", "num_experts_per_tok"})) {
      groups();
    }
    gate();
  }

  void groups() {
    if (c.n_routed_experts % c.n_group != 0) {
      problem("n_group", fmt::format("= {}: must divide n_routed_experts = {}", c.n_group,
                                     c.n_routed_experts));
      return;
    }
    const int64_t in_group = c.n_routed_experts / c.n_group;
    if (c.topk_group > c.n_group) {
      problem("topk_group",
              fmt::format("= {}: must be at most n_group = {}", c.topk_group, c.n_group));
      return;
    }
    const int64_t reachable =
        c.topk_method == TopkMethod::kGreedy ? c.n_routed_experts : c.topk_group * in_group;
    if (c.num_experts_per_tok > reachable) {
      problem("num_experts_per_tok",
              fmt::format("= {}: must be at most {}, the experts of topk_group = {} groups",
                          c.num_experts_per_tok, reachable, c.topk_group));
    }
    if (c.topk_method == TopkMethod::kNoauxTc && in_group < 2) {
      problem("n_group", fmt::format("= {}: must leave at least 2 of n_routed_experts = {} in a "
                                     "group: noaux_tc ranks groups by their best two",
                                     c.n_group, c.n_routed_experts));
    }
  }

  /// What each model_type computes in transformers; a file that says otherwise would be read
  /// differently there.
  void gate() {
    if (!problems_.clean({"model_type", "scoring_func", "topk_method", "norm_topk_prob"})) return;
    const bool v2 = c.model_type == "deepseek_v2";
    if (v2 != (c.scoring_func == GateScoring::kSoftmax)) {
      problem("scoring_func", fmt::format("must be \"{}\" with model_type {}",
                                          v2 ? "softmax" : "sigmoid", c.model_type));
    }
    if (v2 == (c.topk_method == TopkMethod::kNoauxTc)) {
      problem("topk_method",
              fmt::format("must be {} with model_type {}",
                          v2 ? "\"greedy\" or \"group_limited_greedy\"" : "\"noaux_tc\"",
                          c.model_type));
    }
    if (v2 && c.norm_topk_prob) {
      problem("norm_topk_prob", "= true: must be false with model_type deepseek_v2");
    }
  }

  void rope() {
    within("rope_theta", c.rope_theta, 1.001, 1e15);
    if (!c.rope_scaling) return;
    const YarnConfig& yarn = *c.rope_scaling;
    within("rope_scaling.factor", yarn.factor, 1, 1e6);
    within("rope_scaling.original_max_position_embeddings", yarn.original_max_position_embeddings,
           1, kMaxPositions);
    within("rope_scaling.beta_slow", yarn.beta_slow, 1e-6, 1e6);
    within("rope_scaling.beta_fast", yarn.beta_fast, yarn.beta_slow, 1e6);
    within("rope_scaling.mscale", yarn.mscale, 1e-6, 1e3);
    within("rope_scaling.mscale_all_dim", yarn.mscale_all_dim, 0, 1e3);
    if (yarn.mscale_all_dim == 0 && yarn.mscale != 1) {
      problem("rope_scaling.mscale_all_dim",
              fmt::format("is 0 or missing while mscale = {}: implementations disagree on what "
                          "that means; give both or neither",
                          yarn.mscale));
    }
  }

  void token(std::string_view field, int64_t id) {
    if (problems_.clean({"vocab_size"}) && (id < 0 || id >= c.vocab_size)) {
      problem(field,
              fmt::format("= {}: must be from 0 to vocab_size - 1 = {}", id, c.vocab_size - 1));
    }
  }
  void tokens() {
    if (c.bos_token_id) token("bos_token_id", *c.bos_token_id);
    if (c.eos_token_id) token("eos_token_id", *c.eos_token_id);
    if (c.pad_token_id) token("pad_token_id", *c.pad_token_id);
    for (const int64_t id : c.more_eos_token_ids) token("eos_token_id", id);
  }

  void quantization() {
    if (!c.quantization || !c.quantization->is_fp8()) return;
    within("quantization_config.weight_block_size", c.quantization->block_rows, 1, kMaxDim);
    within("quantization_config.weight_block_size", c.quantization->block_cols, 1, kMaxDim);
    if (c.quantization->fmt != "e4m3") problem("quantization_config.fmt", "must be \"e4m3\"");
    if (c.quantization->activation_scheme != "dynamic") {
      problem("quantization_config.activation_scheme", "must be \"dynamic\"");
    }
    const std::string& scale_fmt = c.quantization->scale_fmt;
    if (!scale_fmt.empty() && scale_fmt != "ue8m0" && scale_fmt != "float") {
      problem("quantization_config.scale_fmt", "must be \"ue8m0\" or absent");
    }
  }

  /// An upper bound in floating point, so that exact counts cannot overflow.
  void parameters() {
    const auto f = [](int64_t n) { return static_cast<double>(n); };
    const double hidden = f(c.hidden_size), heads = f(c.num_attention_heads);
    const double attention =
        (hidden + f(c.q_lora_rank) + f(c.kv_lora_rank)) *
        (heads * f(c.qk_head_dim() + c.v_head_dim) + f(c.q_lora_rank) + f(c.kv_lora_rank));
    const double experts = f(c.n_routed_experts + c.n_shared_experts) * f(c.moe_intermediate_size);
    const double layers = f(c.num_hidden_layers + c.num_nextn_predict_layers);
    const double total = layers * (attention + 3 * hidden * (experts + f(c.intermediate_size))) +
                         2 * hidden * f(c.vocab_size);
    if (total > kMaxParameters) {
      problem("this shape", fmt::format("has about {:.1e} parameters: must be under {:.0e}", total,
                                        kMaxParameters));
    }
  }

  const ModelConfig& c;
  ConfigProblems& problems_;
};

}  // namespace

void check_model_type(const ModelConfig& config, ConfigProblems& problems) {
  const std::string& type = config.model_type;
  if (type == "deepseek_v2" || type == "deepseek_v3" || type == "kimi_k2") return;
  problems.add("model_type",
               fmt::format("model_type = {}: must be deepseek_v2, deepseek_v3 or kimi_k2",
                           brief(nlohmann::json(type))));
}

void find_contradictions(const ModelConfig& config, ConfigProblems& problems) {
  Rules(config, problems).check();
}

void ModelConfig::validate(const std::string& source) const {
  ConfigProblems problems;
  find_contradictions(*this, problems);
  problems.throw_if_any(source);
}

}  // namespace fathom
