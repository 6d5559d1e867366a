#include "model/config_quantization.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/json.h"

namespace fathom {
namespace {

using nlohmann::json;
using Json = nlohmann::ordered_json;

void read_block_size(FieldReader& fields, QuantizationConfig& quantization) {
  const json* size = fields.find("weight_block_size");
  const bool pair = size && size->is_array() && size->size() == 2 &&
                    (*size)[0].is_number_integer() && (*size)[1].is_number_integer();
  if (pair) {
    quantization.block_rows = (*size)[0].get<int64_t>();
    quantization.block_cols = (*size)[1].get<int64_t>();
  } else {
    fields.problem("weight_block_size", "must be a list of two integers, such as [128, 128]");
  }
}

void read_fp8(FieldReader& fields, QuantizationConfig& q) {
  fields.read("fmt", q.fmt);
  fields.read("activation_scheme", q.activation_scheme);
  fields.read("scale_fmt", q.scale_fmt);
  read_block_size(fields, q);
  fields.ignore({"modules_to_not_convert", "dequantize"});  // each tensor's own dtype decides
}

void read_bits(FieldReader& fields, const char* name, QuantizationConfig& q) {
  fields.require(name, q.bits);
  if (q.bits != 4 && q.bits != 8) fields.problem(name, fmt::format("= {}: must be 4 or 8", q.bits));
}

void read_awq(FieldReader& fields, QuantizationConfig& q) {
  bool zero_point = true;
  std::string version = "gemm";
  read_bits(fields, "bits", q);
  if (q.bits == 8) fields.problem("bits", "= 8: AWQ weights have 4");
  fields.require("group_size", q.group_size);
  if (q.group_size < 0) q.group_size = 0;  // -1: whole rows
  fields.require("zero_point", zero_point);
  q.symmetric = !zero_point;
  fields.read("version", version);
  if (version != "gemm" && version != "GEMM")
    fields.problem("version", fmt::format("= {}: must be \"gemm\"", brief(json(version))));
  fields.ignore({"modules_to_not_convert", "backend", "do_fuse", "exllama_config",
                 "fuse_max_seq_len", "modules_to_fuse"});
}

/// The weights of one of config_groups.
void read_group_weights(const json& weights, const std::string& prefix, ConfigProblems& problems,
                        QuantizationConfig& q) {
  FieldReader fields(weights, prefix, problems);
  std::string type = "int", strategy = "group", actorder;
  bool dynamic = false;
  read_bits(fields, "num_bits", q);
  fields.read("type", type);
  if (type != "int")
    fields.problem("type", fmt::format("= {}: must be \"int\"", brief(json(type))));
  fields.read("strategy", strategy);
  if (strategy == "group")
    fields.require("group_size", q.group_size);
  else if (strategy != "channel")
    fields.problem("strategy",
                   fmt::format("= {}: must be \"group\" or \"channel\"", brief(json(strategy))));
  fields.read("symmetric", q.symmetric);
  fields.read("dynamic", dynamic);
  if (dynamic) fields.problem("dynamic", "= true: stored weights cannot be quantized dynamically");
  const json* order = fields.find("actorder");
  if (order && *order != "weight" && *order != "static" && *order != false)
    fields.problem("actorder", fmt::format("= {}: columns out of order are not supported; must be "
                                           "null, \"weight\" or \"static\"",
                                           brief(*order)));
  fields.ignore(
      {"group_size", "block_structure", "observer", "observer_kwargs", "scale_dtype", "zp_dtype"});
  fields.finish();
}

void read_config_groups(FieldReader& fields, ConfigProblems& problems, QuantizationConfig& q) {
  const json* groups = fields.find("config_groups");
  if (!groups || !groups->is_object() || groups->empty()) {
    fields.problem("config_groups", "must be an object with at least one group");
    return;
  }
  bool first = true;
  for (const auto& item : groups->items()) {
    const json& group = item.value();
    const std::string name = fmt::format("config_groups.{}", item.key());
    if (!group.is_object() || !group.contains("weights") || !group["weights"].is_object()) {
      fields.problem(name, "has no weights object");
      continue;
    }
    QuantizationConfig of_group = q;
    read_group_weights(group["weights"], fmt::format("quantization_config.{}.weights.", name),
                       problems, of_group);
    if (first)
      q = of_group;
    else if (of_group.group_size != q.group_size || of_group.symmetric != q.symmetric)
      q.uniform = false;
    first = false;
  }
}

void read_compressed(FieldReader& fields, ConfigProblems& problems, QuantizationConfig& q) {
  fields.require("format", q.format);
  if (q.format != "pack-quantized" && q.format != "int-quantized") {
    fields.problem("format", fmt::format("= {}: must be \"pack-quantized\" or \"int-quantized\"",
                                         brief(json(q.format))));
    return;
  }
  read_config_groups(fields, problems, q);
  // Which modules are quantized, each module's own tensors tell.
  fields.ignore({"ignore", "kv_cache_scheme", "quantization_status", "global_compression_ratio",
                 "sparsity_config", "transform_config", "version"});
}

Json compressed_json(const QuantizationConfig& q) {
  const Json weights = {{"num_bits", q.bits},
                        {"type", "int"},
                        {"symmetric", q.symmetric},
                        {"strategy", q.group_size > 0 ? "group" : "channel"},
                        {"group_size", q.group_size > 0 ? Json(q.group_size) : Json(nullptr)},
                        {"dynamic", false},
                        {"actorder", nullptr},
                        {"observer", "minmax"}};
  return {{"quant_method", q.quant_method},
          {"format", q.format},
          {"quantization_status", "compressed"},
          {"config_groups",
           {{"group_0",
             {{"targets", Json::array({"Linear"})},
              {"weights", weights},
              {"input_activations", nullptr},
              {"output_activations", nullptr}}}}},
          {"ignore", Json::array({"lm_head", "re:.*mlp\\.gate$", "re:.*eh_proj$"})},
          {"kv_cache_scheme", nullptr}};
}

}  // namespace

void read_quantization(FieldReader& fields, ConfigProblems& problems,
                       std::optional<QuantizationConfig>& quantization) {
  const json* object = fields.find("quantization_config");
  if (!object) return;
  if (!object->is_object()) {
    fields.problem("quantization_config", "must be an object or null");
    return;
  }
  FieldReader inner(*object, "quantization_config.", problems);
  QuantizationConfig& q = quantization.emplace();
  inner.require("quant_method", q.quant_method);
  if (q.quant_method == "fp8")
    read_fp8(inner, q);
  else if (q.quant_method == "awq")
    read_awq(inner, q);
  else if (q.quant_method == "compressed-tensors")
    read_compressed(inner, problems, q);
  else
    return inner.problem(
        "quant_method",
        fmt::format(
            "= {}: must be \"fp8\", \"compressed-tensors\" or \"awq\"; use other weights of "
            "this model",
            brief(json(q.quant_method))));
  inner.finish();
}

Json quantization_json(const QuantizationConfig& q) {
  if (!q.is_fp8()) return compressed_json(q);
  Json json = {{"quant_method", q.quant_method},
               {"fmt", q.fmt},
               {"activation_scheme", q.activation_scheme},
               {"weight_block_size", {q.block_rows, q.block_cols}}};
  if (!q.scale_fmt.empty()) json["scale_fmt"] = q.scale_fmt;
  return json;
}

}  // namespace fathom
