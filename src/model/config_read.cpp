// config.json as DeepSeek, Moonshot and every transformers version since 4.39 write it.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "model/config.h"
#include "model/config_fields.h"
#include "model/config_quantization.h"
#include "model/config_validate.h"

namespace fathom {
namespace {

using kernels::GateScoring;
using nlohmann::json;
using TopkMethod = ModelConfig::TopkMethod;

bool is_v2(const ModelConfig& config) {
  return config.model_type == "deepseek_v2";
}

/// A field that this architecture fixes: absent, or exactly `expected`.
void require_fixed(FieldReader& fields, std::string_view name, const json& expected,
                   std::string_view why) {
  const json* value = fields.find(name);
  if (!value || *value == expected) return;
  fields.problem(name, fmt::format("= {}: must be {}: {}", brief(*value), brief(expected), why));
}

void read_architectures(FieldReader& fields, const ModelConfig& config) {
  const json* architectures = fields.find("architectures");
  if (!architectures) return;
  const json expected =
      json::array({is_v2(config) ? "DeepseekV2ForCausalLM" : "DeepseekV3ForCausalLM"});
  if (*architectures == expected) return;
  fields.problem("architectures",
                 fmt::format("= {}: must be {} with model_type {}", brief(*architectures),
                             brief(expected), brief(json(config.model_type))));
}

void read_shape(FieldReader& fields, ModelConfig& config) {
  fields.require("vocab_size", config.vocab_size);
  fields.require("hidden_size", config.hidden_size);
  fields.require("intermediate_size", config.intermediate_size);
  fields.require("num_hidden_layers", config.num_hidden_layers);
  fields.require("max_position_embeddings", config.max_position_embeddings);
  fields.require("rms_norm_eps", config.rms_norm_eps);
  fields.read("num_nextn_predict_layers", config.num_nextn_predict_layers);
  fields.read("initializer_range", config.initializer_range);
  fields.read("tie_word_embeddings", config.tie_word_embeddings);
  require_fixed(fields, "hidden_act", "silu", "the feed-forward networks are SwiGLU");
  require_fixed(fields, "attention_bias", false, "the projections of MLA have no biases");
  require_fixed(fields, "mlp_bias", false, "the feed-forward networks have no biases");
  require_fixed(fields, "attention_dropout", 0.0, "attention has no dropout");
}

void read_attention(FieldReader& fields, const ConfigProblems& problems, ModelConfig& config) {
  fields.require("num_attention_heads", config.num_attention_heads);
  fields.require("kv_lora_rank", config.kv_lora_rank);
  fields.require("qk_nope_head_dim", config.qk_nope_head_dim);
  fields.require("qk_rope_head_dim", config.qk_rope_head_dim);
  fields.require("v_head_dim", config.v_head_dim);
  fields.require_or_null("q_lora_rank", config.q_lora_rank);  // null: one q_proj
  require_fixed(fields, "rope_interleave", true, "rotary pairs are interleaved");
  fields.ignore({"num_key_value_heads", "qk_head_dim", "head_dim"});
  if (!problems.clean({"num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim"})) return;
  require_fixed(fields, "num_key_value_heads", config.num_attention_heads,
                "in MLA it equals num_attention_heads");
  require_fixed(fields, "qk_head_dim", config.qk_head_dim(),
                "it is qk_nope_head_dim + qk_rope_head_dim");
  require_fixed(fields, "head_dim", config.qk_rope_head_dim, "it is qk_rope_head_dim");
}

void read_scoring(FieldReader& fields, ModelConfig& config) {
  config.scoring_func = is_v2(config) ? GateScoring::kSoftmax : GateScoring::kSigmoid;
  std::string name;
  if (!fields.read("scoring_func", name)) return;
  if (name == "sigmoid")
    config.scoring_func = GateScoring::kSigmoid;
  else if (name == "softmax")
    config.scoring_func = GateScoring::kSoftmax;
  else
    fields.problem("scoring_func",
                   fmt::format("= {}: must be \"sigmoid\" or \"softmax\"", brief(json(name))));
}

void read_topk_method(FieldReader& fields, ModelConfig& config) {
  config.topk_method = is_v2(config) ? TopkMethod::kGreedy : TopkMethod::kNoauxTc;
  std::string name;
  if (!fields.read("topk_method", name)) return;
  if (name == "greedy")
    config.topk_method = TopkMethod::kGreedy;
  else if (name == "group_limited_greedy")
    config.topk_method = TopkMethod::kGroupLimitedGreedy;
  else if (name == "noaux_tc")
    config.topk_method = TopkMethod::kNoauxTc;
  else
    fields.problem("topk_method", fmt::format("= {}: must be \"greedy\", "
                                              "\"group_limited_greedy\" or \"noaux_tc\"",
                                              brief(json(name))));
}

/// Groups may be left out only where they have no effect.
void read_groups(FieldReader& fields, ModelConfig& config) {
  const bool grouped = config.topk_method != TopkMethod::kGreedy;
  if (grouped) {
    fields.require("n_group", config.n_group);
    fields.require("topk_group", config.topk_group);
    return;
  }
  fields.read("n_group", config.n_group);
  fields.read("topk_group", config.topk_group);
}

void read_experts(FieldReader& fields, ModelConfig& config) {
  read_scoring(fields, config);
  read_topk_method(fields, config);
  fields.read("moe_layer_freq", config.moe_layer_freq);
  fields.read("n_routed_experts", config.n_routed_experts);
  if (config.n_routed_experts == 0) {  // absent, null or 0: a dense model
    fields.ignore({"first_k_dense_replace", "moe_intermediate_size", "num_experts_per_tok",
                   "n_shared_experts", "norm_topk_prob", "routed_scaling_factor", "n_group",
                   "topk_group"});
    config.first_k_dense_replace = config.num_hidden_layers;
    return;
  }
  fields.require("first_k_dense_replace", config.first_k_dense_replace);
  fields.require("moe_intermediate_size", config.moe_intermediate_size);
  fields.require("num_experts_per_tok", config.num_experts_per_tok);
  fields.require_or_null("n_shared_experts", config.n_shared_experts);
  fields.require("norm_topk_prob", config.norm_topk_prob);
  fields.require("routed_scaling_factor", config.routed_scaling_factor);
  read_groups(fields, config);
}

YarnConfig read_yarn(FieldReader& fields) {
  YarnConfig yarn;
  fields.require("factor", yarn.factor);
  fields.require("original_max_position_embeddings", yarn.original_max_position_embeddings);
  fields.read("beta_fast", yarn.beta_fast);
  fields.read("beta_slow", yarn.beta_slow);
  fields.read("mscale", yarn.mscale);
  fields.read("mscale_all_dim", yarn.mscale_all_dim);
  require_fixed(fields, "truncate", true, "the ramp runs between whole dimensions");
  return yarn;
}

/// The members of rope_scaling (as published) or rope_parameters (transformers 5).
void read_rope_object(const json& object, const std::string& name, ConfigProblems& problems,
                      ModelConfig& config, std::optional<double>& theta) {
  FieldReader fields(object, name + ".", problems);
  double own_theta = 0;
  if (fields.read("rope_theta", own_theta)) theta = own_theta;
  std::string type = "default", rope_type;
  fields.read("type", type);
  if (fields.read("rope_type", rope_type)) {
    if (object.contains("type") && type != rope_type) {
      fields.problem("type", fmt::format("= {} contradicts rope_type = {}: keep one",
                                         brief(json(type)), brief(json(rope_type))));
      return;
    }
    type = rope_type;
  }
  if (type != "yarn" && type != "default") {
    fields.problem("type", fmt::format("= {}: must be \"yarn\" or \"default\"", brief(json(type))));
    return;
  }
  if (type == "yarn") config.rope_scaling = read_yarn(fields);
  fields.finish();
}

void read_rope(FieldReader& fields, ConfigProblems& problems, ModelConfig& config) {
  std::optional<double> theta, inner_theta;
  double top_theta = 0;
  if (fields.read("rope_theta", top_theta)) theta = top_theta;
  const json* scaling = fields.find("rope_scaling");
  const json* parameters = fields.find("rope_parameters");
  if (scaling && parameters) {
    fields.problem("rope_parameters", "and rope_scaling are both given: keep one");
    return;
  }
  const std::string name = scaling ? "rope_scaling" : "rope_parameters";
  const json* object = scaling ? scaling : parameters;
  if (object && !object->is_object()) {
    fields.problem(name, fmt::format("= {}: must be an object or null", brief(*object)));
    return;
  }
  if (object) read_rope_object(*object, name, problems, config, inner_theta);
  if (theta && inner_theta && *theta != *inner_theta) {
    fields.problem("rope_theta", fmt::format("= {} contradicts {}.rope_theta = {}: keep one",
                                             *theta, name, *inner_theta));
  }
  if (inner_theta) theta = inner_theta;
  if (theta) config.rope_theta = *theta;
  if (!theta) fields.problem("rope_theta", "is missing: add it (10000 in DeepSeek's models)");
}

void read_eos(FieldReader& fields, ModelConfig& config) {
  const json* value = fields.find("eos_token_id");
  if (!value || !value->is_array()) {
    fields.read("eos_token_id", config.eos_token_id);
    return;
  }
  for (const json& id : *value) {
    if (!id.is_number_integer()) {
      fields.problem("eos_token_id",
                     fmt::format("= {}: must be an integer or a list of integers", brief(*value)));
      return;
    }
    if (!config.eos_token_id)
      config.eos_token_id = id.get<int64_t>();
    else
      config.more_eos_token_ids.push_back(id.get<int64_t>());
  }
}

/// Metadata, options of the training that made the model, and generation defaults: no effect on
/// what the model computes.
void ignore_metadata(FieldReader& fields) {
  fields.ignore({"_name_or_path",
                 "name_or_path",
                 "unsloth_fixed",
                 "unsloth_version",
                 "auto_map",
                 "transformers_version",
                 "torch_dtype",
                 "dtype",
                 "use_cache",
                 "ep_size",
                 "pretraining_tp",
                 "aux_loss_alpha",
                 "seq_aux",
                 "router_aux_loss_coef",
                 "router_dtype",
                 "output_router_logits",
                 "output_attentions",
                 "output_hidden_states",
                 "output_scores",
                 "return_dict",
                 "return_dict_in_generate",
                 "use_return_dict",
                 "is_encoder_decoder",
                 "is_decoder",
                 "add_cross_attention",
                 "cross_attention_hidden_size",
                 "tie_encoder_decoder",
                 "chunk_size_feed_forward",
                 "id2label",
                 "label2id",
                 "num_labels",
                 "problem_type",
                 "torchscript",
                 "use_bfloat16",
                 "pruned_heads",
                 "task_specific_params",
                 "tokenizer_class",
                 "prefix",
                 "sep_token_id",
                 "decoder_start_token_id",
                 "finetuning_task",
                 "tf_legacy_loss",
                 "attn_implementation",
                 "_attn_implementation",
                 "_attn_implementation_autoset",
                 "_commit_hash",
                 "experts_implementation",
                 "_experts_implementation",
                 "_attn_implementation_internal",
                 "temperature",
                 "top_k",
                 "top_p",
                 "typical_p",
                 "do_sample",
                 "min_length",
                 "max_length",
                 "num_beams",
                 "num_beam_groups",
                 "diversity_penalty",
                 "repetition_penalty",
                 "length_penalty",
                 "no_repeat_ngram_size",
                 "encoder_no_repeat_ngram_size",
                 "bad_words_ids",
                 "num_return_sequences",
                 "forced_bos_token_id",
                 "forced_eos_token_id",
                 "remove_invalid_values",
                 "exponential_decay_length_penalty",
                 "suppress_tokens",
                 "begin_suppress_tokens",
                 "early_stopping"});
}

}  // namespace

ModelConfig ModelConfig::from_json(std::string_view text, const std::string& source) {
  const json document = parse_json(text, source);
  if (!document.is_object()) {
    throw Error(fmt::format("{}: must be a JSON object, is {}", source, brief(document)),
                "give a model's config.json");
  }
  ModelConfig config;
  ConfigProblems problems;
  FieldReader fields(document, "", problems);
  fields.require("model_type", config.model_type);
  check_model_type(config, problems);
  problems.throw_if_any(source);  // of another architecture every field would be wrong
  read_architectures(fields, config);
  read_shape(fields, config);
  read_attention(fields, problems, config);
  read_experts(fields, config);
  read_rope(fields, problems, config);
  fields.read("bos_token_id", config.bos_token_id);
  fields.read("pad_token_id", config.pad_token_id);
  read_eos(fields, config);
  read_quantization(fields, problems, config.quantization);
  ignore_metadata(fields);
  fields.finish();
  find_contradictions(config, problems);
  problems.throw_if_any(source);
  return config;
}

ModelConfig ModelConfig::from_file(const std::filesystem::path& config_json) {
  return from_json(MappedFile(config_json).text(), config_json.string());
}

}  // namespace fathom
