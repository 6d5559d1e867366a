#include "model/presets.h"

#include <fmt/ranges.h>

#include <array>

#include "model/config.h"
#include "model/parameter_count.h"

namespace fathom {
namespace {

using kernels::GateScoring;
using TopkMethod = ModelConfig::TopkMethod;

/// What the four trainable presets share: V3's gate scaled down, no YaRN. The scaling factor is
/// about sqrt(top-k), as in the published models: it keeps the size of a sum of k experts.
ModelConfig trainable() {
  ModelConfig c;
  c.model_type = "deepseek_v3";
  c.first_k_dense_replace = 1;
  c.num_nextn_predict_layers = 1;
  c.n_routed_experts = 16;
  c.n_shared_experts = 1;
  c.num_experts_per_tok = 4;
  c.n_group = 4;
  c.topk_group = 2;
  c.routed_scaling_factor = 2.0;
  c.initializer_range = 0.02;
  c.bos_token_id = 0;
  c.eos_token_id = 1;
  return c;
}

ModelConfig nano() {
  ModelConfig c = trainable();
  c.vocab_size = 4096;
  c.hidden_size = 128;
  c.num_hidden_layers = 4;
  c.num_attention_heads = 4;
  c.kv_lora_rank = 64;
  c.qk_nope_head_dim = 32;
  c.qk_rope_head_dim = 16;
  c.v_head_dim = 32;
  c.intermediate_size = 384;
  c.moe_intermediate_size = 64;
  c.max_position_embeddings = 1024;
  return c;
}

ModelConfig micro() {
  ModelConfig c = trainable();
  c.vocab_size = 2048;
  c.hidden_size = 256;
  c.num_hidden_layers = 8;
  c.num_attention_heads = 4;
  c.q_lora_rank = 128;
  c.kv_lora_rank = 96;
  c.qk_nope_head_dim = 64;
  c.qk_rope_head_dim = 32;
  c.v_head_dim = 64;
  c.intermediate_size = 704;
  c.moe_intermediate_size = 128;
  c.num_experts_per_tok = 2;
  c.max_position_embeddings = 2048;
  return c;
}

ModelConfig mini() {
  ModelConfig c = micro();
  c.num_experts_per_tok = 4;
  c.vocab_size = 8192;
  c.hidden_size = 384;
  c.num_hidden_layers = 8;
  c.num_attention_heads = 6;
  c.q_lora_rank = 192;
  c.kv_lora_rank = 128;
  c.intermediate_size = 1024;
  c.moe_intermediate_size = 128;
  return c;
}

ModelConfig small() {
  ModelConfig c = mini();
  c.vocab_size = 16384;
  c.hidden_size = 512;
  c.num_hidden_layers = 10;
  c.num_attention_heads = 8;
  c.q_lora_rank = 256;
  c.intermediate_size = 1536;
  c.moe_intermediate_size = 192;
  c.n_routed_experts = 24;
  c.max_position_embeddings = 4096;
  return c;
}

YarnConfig yarn(double factor, double mscale) {
  YarnConfig y;
  y.factor = factor;
  y.mscale = y.mscale_all_dim = mscale;
  return y;
}

/// Spec A.7. Head dimensions and the KV latent are the same in all published models.
ModelConfig published() {
  ModelConfig c;
  c.kv_lora_rank = 512;
  c.qk_nope_head_dim = 128;
  c.qk_rope_head_dim = 64;
  c.v_head_dim = 128;
  c.max_position_embeddings = 163840;
  return c;
}

ModelConfig deepseek_v2_lite() {
  ModelConfig c = published();
  c.model_type = "deepseek_v2";
  c.scoring_func = GateScoring::kSoftmax;
  c.topk_method = TopkMethod::kGreedy;
  c.norm_topk_prob = false;
  c.vocab_size = 102400;
  c.hidden_size = 2048;
  c.num_hidden_layers = 27;
  c.first_k_dense_replace = 1;
  c.num_attention_heads = 16;
  c.intermediate_size = 10944;
  c.moe_intermediate_size = 1408;
  c.n_routed_experts = 64;
  c.n_shared_experts = 2;
  c.num_experts_per_tok = 6;
  c.rope_scaling = yarn(40, 0.707);
  c.bos_token_id = 100000;
  c.eos_token_id = 100001;
  return c;
}

ModelConfig deepseek_v2() {
  ModelConfig c = deepseek_v2_lite();
  c.topk_method = TopkMethod::kGroupLimitedGreedy;
  c.hidden_size = 5120;
  c.num_hidden_layers = 60;
  c.num_attention_heads = 128;
  c.q_lora_rank = 1536;
  c.intermediate_size = 12288;
  c.moe_intermediate_size = 1536;
  c.n_routed_experts = 160;
  c.n_group = 8;
  c.topk_group = 3;
  c.routed_scaling_factor = 16;
  return c;
}

ModelConfig deepseek_v3() {
  ModelConfig c = published();
  c.model_type = "deepseek_v3";
  c.vocab_size = 129280;
  c.hidden_size = 7168;
  c.num_hidden_layers = 61;
  c.first_k_dense_replace = 3;
  c.num_nextn_predict_layers = 1;
  c.num_attention_heads = 128;
  c.q_lora_rank = 1536;
  c.intermediate_size = 18432;
  c.moe_intermediate_size = 2048;
  c.n_routed_experts = 256;
  c.n_shared_experts = 1;
  c.num_experts_per_tok = 8;
  c.n_group = 8;
  c.topk_group = 4;
  c.routed_scaling_factor = 2.5;
  c.rope_scaling = yarn(40, 1);
  c.bos_token_id = 0;
  c.eos_token_id = 1;
  return c;
}

ModelConfig moonlight() {
  ModelConfig c = published();
  c.model_type = "deepseek_v3";
  c.vocab_size = 163840;
  c.hidden_size = 2048;
  c.num_hidden_layers = 27;
  c.first_k_dense_replace = 1;
  c.num_attention_heads = 16;
  c.intermediate_size = 11264;
  c.moe_intermediate_size = 1408;
  c.n_routed_experts = 64;
  c.n_shared_experts = 2;
  c.num_experts_per_tok = 6;
  c.routed_scaling_factor = 2.446;
  c.rope_theta = 50000;
  c.max_position_embeddings = 8192;
  c.rms_norm_eps = 1e-5;
  c.bos_token_id = 163584;
  c.eos_token_id = 163586;
  return c;
}

ModelConfig kimi_k2() {
  ModelConfig c = deepseek_v3();
  c.model_type = "kimi_k2";
  c.vocab_size = 163840;
  c.first_k_dense_replace = 1;
  c.num_nextn_predict_layers = 0;
  c.num_attention_heads = 64;
  c.n_routed_experts = 384;
  c.n_group = 1;
  c.topk_group = 1;
  c.routed_scaling_factor = 2.827;
  c.rope_theta = 50000;
  c.rope_scaling = yarn(32, 1);
  c.rope_scaling->beta_fast = 1;
  c.max_position_embeddings = 131072;
  c.bos_token_id = 163584;
  c.eos_token_id = 163586;
  return c;
}

struct Preset {
  const char* name;
  ModelConfig (*make)();
  const char* purpose;
};

constexpr std::array<Preset, 9> kPresets = {{
    {"nano", nano, "a hundred training steps in seconds"},
    {"micro", micro, "learns a few megabytes of text in minutes on 2 cores"},
    {"mini", mini, "an evening's training on a desktop"},
    {"small", small, "the size of GPT-2, for a server"},
    {"deepseek-v2-lite", deepseek_v2_lite, "DeepSeek-V2-Lite"},
    {"deepseek-v2", deepseek_v2, "DeepSeek-V2"},
    {"deepseek-v3", deepseek_v3, "DeepSeek-V3, R1 and V3.1"},
    {"moonlight-16b-a3b", moonlight, "Moonlight-16B-A3B"},
    {"kimi-k2", kimi_k2, "Kimi-K2 (July 2025)"},
}};

const Preset& find(std::string_view name) {
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return preset;
  }
  throw Error(fmt::format("no model preset is called '{}'", name),
              fmt::format("use one of: {}", fmt::join(ModelConfig::preset_names(), ", ")));
}

}  // namespace

ModelConfig ModelConfig::preset(std::string_view name) {
  return find(name).make();
}

const std::vector<std::string>& ModelConfig::preset_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Preset& preset : kPresets) list.emplace_back(preset.name);
    return list;
  }();
  return names;
}

std::string describe_preset(std::string_view name) {
  const Preset& preset = find(name);
  const ParameterCount n = count_parameters(preset.make());
  const auto count = [](int64_t value) {
    return value >= 1'000'000'000 ? fmt::format("{:.2f}B", static_cast<double>(value) * 1e-9)
                                  : fmt::format("{:.2f}M", static_cast<double>(value) * 1e-6);
  };
  std::string line =
      fmt::format("{}: {} parameters, {} active", preset.purpose, count(n.total), count(n.active));
  if (n.mtp > 0) line += fmt::format(", and {} in MTP", count(n.mtp));
  return line;
}

}  // namespace fathom
