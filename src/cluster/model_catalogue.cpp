// Where a model's shape comes from: presets, models.toml, config.json.
#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cluster/embedded.h"
#include "cluster/model_shape.h"
#include "cluster/nearest.h"
#include "model/config.h"

namespace fathom::cluster {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

ModelShape from_config(const ModelConfig& c, std::string name, std::string source) {
  ModelShape s;
  s.name = std::move(name);
  s.source = std::move(source);
  s.layers = c.num_hidden_layers;
  s.hidden = c.hidden_size;
  s.vocab = c.vocab_size;
  s.heads = s.kv_heads = c.num_attention_heads;
  s.q_lora = c.q_lora_rank;
  s.kv_lora = c.kv_lora_rank;
  s.rope_dim = c.qk_rope_head_dim;
  s.qk_dim = c.qk_head_dim();
  s.v_dim = c.v_head_dim;
  s.dense_ffn = c.intermediate_size;
  s.experts = c.n_routed_experts;
  s.shared_experts = c.n_shared_experts;
  s.top_k = c.num_experts_per_tok;
  s.expert_ffn = c.moe_intermediate_size;
  s.groups = c.n_group;
  s.top_groups = c.topk_group;
  s.first_dense = c.first_k_dense_replace;
  s.moe_every = c.moe_layer_freq;
  s.correction_bias = c.has_correction_bias();
  s.mtp = c.num_nextn_predict_layers;
  s.tied_embedding = c.tie_word_embeddings;
  return s;
}

// Fields as in config.json, from JSON or TOML alike. Reads what it knows and refuses nonsense.
class Fields {
 public:
  Fields(const json& object, std::string source) : object_(object), source_(std::move(source)) {}

  int64_t required(const char* name) const {
    if (!object_.contains(name))
      throw Error(fmt::format("{}: has no {}", source_, name), "a config.json of Hugging Face has");
    return optional(name, 0);
  }
  int64_t optional(const char* name, int64_t otherwise) const {
    const auto found = object_.find(name);
    if (found == object_.end() || found->is_null()) return otherwise;
    const int64_t limit = int64_t{1} << 24;
    if (!found->is_number_integer() || found->get<int64_t>() < 1 || found->get<int64_t>() > limit)
      throw Error(fmt::format("{}: {} = {} is out of range", source_, name, brief(*found)),
                  "give a whole number from 1 to 2^24");
    return found->get<int64_t>();
  }
  bool flag(const char* name) const {
    const auto found = object_.find(name);
    if (found == object_.end() || found->is_null()) return false;
    if (!found->is_boolean())
      throw Error(fmt::format("{}: {} = {} is not true or false", source_, name, brief(*found)));
    return found->get<bool>();
  }

 private:
  const json& object_;
  std::string source_;
};

void read_experts(const Fields& f, ModelShape& s) {
  s.experts = f.optional("num_experts", f.optional("num_local_experts", 0));
  if (s.experts == 0) {
    s.dense_ffn = f.required("intermediate_size");
    return;
  }
  s.top_k = f.required("num_experts_per_tok");
  s.expert_ffn = f.optional("moe_intermediate_size", f.optional("intermediate_size", 0));
  if (s.expert_ffn == 0) s.expert_ffn = f.required("moe_intermediate_size");
  s.dense_ffn = f.optional("intermediate_size", s.expert_ffn);
  if (s.top_k > s.experts)
    throw Error(
        fmt::format("{}: num_experts_per_tok = {} of {} experts", s.source, s.top_k, s.experts));
}

ModelShape from_fields(const json& object, std::string name, std::string source) {
  const Fields f(object, source);
  ModelShape s;
  s.name = std::move(name);
  s.source = std::move(source);
  s.layers = f.required("num_hidden_layers");
  s.hidden = f.required("hidden_size");
  s.vocab = f.required("vocab_size");
  s.heads = f.required("num_attention_heads");
  s.kv_heads = f.optional("num_key_value_heads", s.heads);
  s.qk_dim = s.v_dim = f.optional("head_dim", s.hidden / s.heads);
  s.attention_bias = f.flag("attention_bias");
  s.qk_norm = f.flag("qk_norm");
  s.tied_embedding = f.flag("tie_word_embeddings");
  read_experts(f, s);
  return s;
}

// The catalogue's tables hold numbers, flags and strings only.
json to_json(const toml::table& table) {
  json object = json::object();
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    if (node.is_integer()) object[name] = *node.value<int64_t>();
    if (node.is_boolean()) object[name] = *node.value<bool>();
    if (node.is_string()) object[name] = *node.value<std::string>();
  }
  return object;
}

const toml::table& models() {
  static const toml::table all = toml::parse(kModelsToml, std::string_view("models.toml"));
  return *all["model"].as_table();
}

bool is_deepseek(const std::string& type) {
  return type == "deepseek_v3" || type == "deepseek_v2" || type == "kimi_k2";
}

// Properties that an architecture has without its config.json saying so.
void add_implied(const std::string& type, json& object) {
  if (type == "qwen2") object["attention_bias"] = true;
  if (type == "qwen3" || type == "qwen3_moe") object["qk_norm"] = true;
}

ModelShape from_file(const fs::path& path, const std::string& name) {
  json object = parse_json(read_text_file(path), path.string());
  if (!object.is_object()) throw Error(path.string() + ": not a JSON object");
  const auto field = object.find("model_type");
  const std::string type =
      field != object.end() && field->is_string() ? field->get<std::string>() : "";
  if (is_deepseek(type)) return from_config(ModelConfig::from_file(path), name, path.string());
  const std::vector<std::string> known = {"deepseek_v2", "deepseek_v3", "kimi_k2",
                                          "llama",       "mistral",     "mixtral",
                                          "qwen2",       "qwen3",       "qwen3_moe"};
  if (std::find(known.begin(), known.end(), type) == known.end())
    throw Error(fmt::format("{}: model_type '{}' is not planned for", path.string(), type),
                choice_hint(type, known));
  add_implied(type, object);
  return from_fields(object, name, path.string());
}

}  // namespace

std::vector<std::string> model_names() {
  std::vector<std::string> names = ModelConfig::preset_names();
  for (const auto& [name, node] : models()) names.emplace_back(name.str());
  return names;
}

ModelShape model_shape(const std::string& model) {
  const auto& presets = ModelConfig::preset_names();
  if (fs::is_directory(model)) return from_file(fs::path(model) / "config.json", model);
  if (fs::exists(model) || model.find('/') != model.npos || model.ends_with(".json"))
    return from_file(model, model);
  if (std::find(presets.begin(), presets.end(), model) != presets.end())
    return from_config(ModelConfig::preset(model), model, "published config.json");
  if (const toml::table* table = models()[model].as_table())
    return from_fields(to_json(*table), model, (*table)["source"].value_or(""));
  throw Error(fmt::format("unknown model '{}'", model), choice_hint(model, model_names()));
}

}  // namespace fathom::cluster
