#include <nlohmann/json.hpp>

#include "model/config.h"
#include "model/config_quantization.h"

namespace fathom {
namespace {

using Json = nlohmann::ordered_json;
using TopkMethod = ModelConfig::TopkMethod;

const char* name_of(TopkMethod method) {
  switch (method) {
    case TopkMethod::kGreedy:
      return "greedy";
    case TopkMethod::kGroupLimitedGreedy:
      return "group_limited_greedy";
    case TopkMethod::kNoauxTc:
      return "noaux_tc";
  }
  FATHOM_ASSERT(false);
  return "";
}

Json or_null(std::optional<int64_t> value) {
  return value ? Json(*value) : Json(nullptr);
}

Json eos(const ModelConfig& config) {
  if (config.more_eos_token_ids.empty()) return or_null(config.eos_token_id);
  Json list = Json::array({*config.eos_token_id});
  for (const int64_t id : config.more_eos_token_ids) list.push_back(id);
  return list;
}

/// As DeepSeek publishes it; transformers 5 turns it into rope_parameters when it reads it.
Json rope_scaling(const ModelConfig& config) {
  if (!config.rope_scaling) return nullptr;
  const YarnConfig& yarn = *config.rope_scaling;
  return {{"type", "yarn"},
          {"factor", yarn.factor},
          {"original_max_position_embeddings", yarn.original_max_position_embeddings},
          {"beta_fast", yarn.beta_fast},
          {"beta_slow", yarn.beta_slow},
          {"mscale", yarn.mscale},
          {"mscale_all_dim", yarn.mscale_all_dim}};
}

Json base(const ModelConfig& c) {
  const bool v2 = c.model_type == "deepseek_v2";
  return {{"architectures", Json::array({v2 ? "DeepseekV2ForCausalLM" : "DeepseekV3ForCausalLM"})},
          {"model_type", c.model_type},
          {"vocab_size", c.vocab_size},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"num_hidden_layers", c.num_hidden_layers},
          {"num_nextn_predict_layers", c.num_nextn_predict_layers},
          {"max_position_embeddings", c.max_position_embeddings},
          {"rms_norm_eps", c.rms_norm_eps},
          {"initializer_range", c.initializer_range},
          {"tie_word_embeddings", c.tie_word_embeddings},
          {"hidden_act", "silu"},
          {"bos_token_id", or_null(c.bos_token_id)},
          {"eos_token_id", eos(c)},
          {"pad_token_id", or_null(c.pad_token_id)}};
}

void add_attention(const ModelConfig& c, Json& json) {
  json.update({{"num_attention_heads", c.num_attention_heads},
               {"num_key_value_heads", c.num_attention_heads},
               {"q_lora_rank", c.q_lora_rank == 0 ? Json(nullptr) : Json(c.q_lora_rank)},
               {"kv_lora_rank", c.kv_lora_rank},
               {"qk_nope_head_dim", c.qk_nope_head_dim},
               {"qk_rope_head_dim", c.qk_rope_head_dim},
               {"v_head_dim", c.v_head_dim},
               {"attention_bias", false},
               {"attention_dropout", 0.0},
               {"rope_theta", c.rope_theta},
               {"rope_scaling", rope_scaling(c)}});
}

void add_experts(const ModelConfig& c, Json& json) {
  const bool sigmoid = c.scoring_func == kernels::GateScoring::kSigmoid;
  // transformers builds a dense layer only before first_k_dense_replace.
  const int64_t dense = c.n_routed_experts == 0 ? c.num_hidden_layers : c.first_k_dense_replace;
  json.update({{"first_k_dense_replace", dense},
               {"moe_layer_freq", c.moe_layer_freq},
               {"n_routed_experts", c.n_routed_experts},
               {"n_shared_experts", c.n_shared_experts},
               {"num_experts_per_tok", c.num_experts_per_tok},
               {"moe_intermediate_size", c.moe_intermediate_size},
               {"n_group", c.n_group},
               {"topk_group", c.topk_group},
               {"scoring_func", sigmoid ? "sigmoid" : "softmax"},
               {"topk_method", name_of(c.topk_method)},
               {"norm_topk_prob", c.norm_topk_prob},
               {"routed_scaling_factor", c.routed_scaling_factor}});
}

}  // namespace

std::string ModelConfig::to_json(std::string_view torch_dtype) const {
  Json json = base(*this);
  add_attention(*this, json);
  add_experts(*this, json);
  json["torch_dtype"] = torch_dtype;
  if (quantization) json["quantization_config"] = quantization_json(*quantization);
  return json.dump(2) + "\n";
}

}  // namespace fathom
