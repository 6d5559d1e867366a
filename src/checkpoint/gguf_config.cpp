#include "checkpoint/gguf_config.h"

#include <fmt/format.h>

#include <optional>
#include <tuple>

#include "base/error.h"
#include "base/log.h"

namespace fathom {
namespace {

using TopkMethod = ModelConfig::TopkMethod;

/// The keys of one architecture; problems are gathered.
class Keys {
 public:
  explicit Keys(const GgufReader& reader) : metadata_(reader.metadata()) {}

  template <class T>
  std::optional<T> find(const std::string& key) {
    const auto it = metadata_.find(key);
    if (it == metadata_.end()) return {};
    if (const T* value = std::get_if<T>(&it->second)) return *value;
    problems_.push_back(fmt::format("{} is not a {}", key, kind<T>()));
    return {};
  }
  template <class T>
  std::optional<T> of_model(const std::string& key) {
    return find<T>("deepseek2." + key);
  }
  template <class T>
  T require(const std::string& key) {
    const size_t before = problems_.size();
    const std::optional<T> value = of_model<T>(key);
    if (!value && problems_.size() == before)
      problems_.push_back(fmt::format("deepseek2.{} is missing", key));
    return value.value_or(T{});
  }
  void problem(std::string text) { problems_.push_back(std::move(text)); }
  void throw_if_any(const std::string& source) const {
    if (problems_.empty()) return;
    throw Error(fmt::format("{}: {}", source, fmt::join(problems_, "; ")),
                "give a GGUF file of a DeepSeek-V2, V3, Moonlight or Kimi-K2 model, converted by a "
                "current converter");
  }

 private:
  template <class T>
  static const char* kind() {
    if constexpr (std::is_same_v<T, int64_t>) return "whole number";
    if constexpr (std::is_same_v<T, double>) return "floating-point number";
    if constexpr (std::is_same_v<T, bool>) return "truth value";
    return "text";
  }
  const std::map<std::string, GgufValue>& metadata_;
  std::vector<std::string> problems_;
};

void read_sizes(Keys& keys, ModelConfig& c) {
  c.num_nextn_predict_layers = keys.of_model<int64_t>("nextn_predict_layers").value_or(0);
  c.num_hidden_layers = keys.require<int64_t>("block_count") - c.num_nextn_predict_layers;
  c.hidden_size = keys.require<int64_t>("embedding_length");
  c.intermediate_size = keys.require<int64_t>("feed_forward_length");
  c.max_position_embeddings = keys.require<int64_t>("context_length");
  c.rms_norm_eps = keys.require<double>("attention.layer_norm_rms_epsilon");
  // F32 in the file: 1e-6 is not 1e-6 in double.
  c.rms_norm_eps = std::stod(fmt::format("{:.6g}", c.rms_norm_eps));
}

/// With the compressed widths (converters since April 2025) or the heads' own under the plain keys.
void read_attention(Keys& keys, ModelConfig& c) {
  c.num_attention_heads = keys.require<int64_t>("attention.head_count");
  c.q_lora_rank = keys.of_model<int64_t>("attention.q_lora_rank").value_or(0);
  c.kv_lora_rank = keys.require<int64_t>("attention.kv_lora_rank");
  c.qk_rope_head_dim = keys.require<int64_t>("rope.dimension_count");
  const auto key = keys.of_model<int64_t>("attention.key_length_mla");
  const auto value = keys.of_model<int64_t>("attention.value_length_mla");
  c.qk_nope_head_dim =
      (key ? *key : keys.require<int64_t>("attention.key_length")) - c.qk_rope_head_dim;
  c.v_head_dim = value ? *value : keys.require<int64_t>("attention.value_length");
}

/// What the published models with so many experts have.
std::pair<int64_t, int64_t> published_groups(int64_t experts) {
  if (experts == 256) return {8, 4};
  if (experts == 160) return {8, 3};
  return {1, 1};
}

void read_groups(Keys& keys, ModelConfig& c, const std::string& source) {
  const auto groups = keys.of_model<int64_t>("expert_group_count");
  const auto used = keys.of_model<int64_t>("expert_group_used_count");
  std::tie(c.n_group, c.topk_group) = published_groups(c.n_routed_experts);
  if (groups && used) {
    c.n_group = *groups;
    c.topk_group = *used;
  } else if (groups || used) {
    keys.problem("deepseek2.expert_group_count and expert_group_used_count must both be given");
  } else if (c.n_group > 1) {
    log_info("the file names no expert groups: those of the published model are used",
             {{"model", source},
              {"n_group", fmt::to_string(c.n_group)},
              {"topk_group", fmt::to_string(c.topk_group)}});
  }
}

void read_gate(Keys& keys, ModelConfig& c) {
  // Files of V2 from before the key have softmax.
  constexpr int64_t kSoftmax = 1, kSigmoid = 2;
  const int64_t function = keys.of_model<int64_t>("expert_gating_func").value_or(kSoftmax);
  if (function != kSoftmax && function != kSigmoid)
    keys.problem(fmt::format("deepseek2.expert_gating_func = {}: must be 1 or 2", function));
  const bool sigmoid = function == kSigmoid;
  c.model_type = sigmoid ? "deepseek_v3" : "deepseek_v2";
  c.scoring_func = sigmoid ? kernels::GateScoring::kSigmoid : kernels::GateScoring::kSoftmax;
  c.topk_method = sigmoid         ? TopkMethod::kNoauxTc
                  : c.n_group > 1 ? TopkMethod::kGroupLimitedGreedy
                                  : TopkMethod::kGreedy;
  c.norm_topk_prob = keys.of_model<bool>("expert_weights_norm").value_or(false);
  c.routed_scaling_factor = keys.of_model<double>("expert_weights_scale").value_or(1);
  c.routed_scaling_factor = std::stod(fmt::format("{:.6g}", c.routed_scaling_factor));
}

void read_experts(Keys& keys, ModelConfig& c, const std::string& source) {
  c.n_routed_experts = keys.of_model<int64_t>("expert_count").value_or(0);
  c.first_k_dense_replace = keys.require<int64_t>("leading_dense_block_count");
  if (c.n_routed_experts > 0) {
    c.num_experts_per_tok = keys.require<int64_t>("expert_used_count");
    c.n_shared_experts = keys.require<int64_t>("expert_shared_count");
    c.moe_intermediate_size = keys.require<int64_t>("expert_feed_forward_length");
    read_groups(keys, c, source);
  } else {
    c.first_k_dense_replace = c.num_hidden_layers;
  }
  read_gate(keys, c);
}

/// yarn_log_multiplier is 0.1 · mscale_all_dim; every published model has mscale = mscale_all_dim.
void read_rope(Keys& keys, ModelConfig& c) {
  c.rope_theta = keys.of_model<double>("rope.freq_base").value_or(10000);
  const std::string type = keys.of_model<std::string>("rope.scaling.type").value_or("none");
  if (type == "none") return;
  if (type != "yarn")
    return keys.problem(fmt::format("deepseek2.rope.scaling.type = {}: must be yarn", type));
  YarnConfig yarn;
  yarn.factor = keys.require<double>("rope.scaling.factor");
  yarn.original_max_position_embeddings =
      keys.require<int64_t>("rope.scaling.original_context_length");
  yarn.beta_fast = keys.of_model<double>("rope.scaling.yarn_beta_fast").value_or(32);
  yarn.beta_slow = keys.of_model<double>("rope.scaling.yarn_beta_slow").value_or(1);
  const double log = keys.of_model<double>("rope.scaling.yarn_log_multiplier").value_or(0);
  yarn.mscale_all_dim = std::stod(fmt::format("{:.6g}", 10 * log));
  yarn.mscale = yarn.mscale_all_dim > 0 ? yarn.mscale_all_dim : 1;
  c.rope_scaling = yarn;
}

void read_tokens(Keys& keys, const GgufReader& reader, ModelConfig& c) {
  c.bos_token_id = keys.find<int64_t>("tokenizer.ggml.bos_token_id");
  c.eos_token_id = keys.find<int64_t>("tokenizer.ggml.eos_token_id");
  c.pad_token_id = keys.find<int64_t>("tokenizer.ggml.padding_token_id");
  const GgufTensor* embedding = reader.find("token_embd.weight");
  if (!embedding || embedding->shape.size() != 2)
    return keys.problem("tensor token_embd.weight is missing");
  c.vocab_size = embedding->shape[0];
  c.tie_word_embeddings = !reader.find("output.weight");
}

}  // namespace

ModelConfig gguf_config(const GgufReader& reader, const std::string& source) {
  Keys keys(reader);
  const std::string architecture = keys.find<std::string>("general.architecture").value_or("none");
  if (architecture != "deepseek2") {
    keys.problem(fmt::format("general.architecture = {}: must be deepseek2", architecture));
    keys.throw_if_any(source);  // of another architecture every key would be wrong
  }
  ModelConfig config;
  read_sizes(keys, config);
  read_attention(keys, config);
  read_experts(keys, config, source);
  read_rope(keys, config);
  read_tokens(keys, reader, config);
  keys.throw_if_any(source);
  config.validate(source);
  return config;
}

}  // namespace fathom
