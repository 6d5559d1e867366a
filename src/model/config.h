#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/gating.h"

namespace fathom {

/// YaRN (spec A.3). Field names as in config.json's rope_scaling.
struct YarnConfig {
  double factor = 1;
  int64_t original_max_position_embeddings = 4096;
  double beta_fast = 32, beta_slow = 1;
  double mscale = 1, mscale_all_dim = 0;

  bool operator==(const YarnConfig&) const = default;
};

/// quantization_config: how the weights on disk are stored. Which methods are known:
///   fp8: DeepSeek's own (spec B.2), E4M3 with scales of blocks
///   compressed-tensors: integers of 4 or 8 bits with scales of groups of a row, packed into words
///     (pack-quantized) or not (int-quantized)
///   awq: 4 bits with zero points, packed along the outputs (AutoAWQ's GEMM layout)
struct QuantizationConfig {
  std::string quant_method = "fp8";

  // fp8
  std::string fmt = "e4m3", activation_scheme = "dynamic";
  std::string scale_fmt;  ///< "ue8m0": scales are powers of two (V3.1); empty: any float
  int64_t block_rows = 128, block_cols = 128;  ///< weight_block_size

  // compressed-tensors and awq; of several config_groups, the first
  bool uniform = true;     ///< config_groups agree in group_size and symmetric
  std::string format;      ///< compressed-tensors: pack-quantized or int-quantized
  int64_t bits = 0;        ///< 4 or 8
  int64_t group_size = 0;  ///< elements of a row under one scale; 0: the whole row
  bool symmetric = true;   ///< no zero points

  bool is_fp8() const { return quant_method == "fp8"; }
  bool operator==(const QuantizationConfig&) const = default;
};

/// The shape of a DeepSeek-V2/V3-architecture model: config.json with its own field names, checked.
struct ModelConfig {
  enum class TopkMethod : uint8_t { kGreedy, kGroupLimitedGreedy, kNoauxTc };

  std::string model_type;  ///< deepseek_v3, deepseek_v2 or kimi_k2
  int64_t vocab_size = 0, hidden_size = 0;
  int64_t num_hidden_layers = 0, first_k_dense_replace = 0, moe_layer_freq = 1;
  int64_t num_nextn_predict_layers = 0;  ///< MTP depth D
  int64_t num_attention_heads = 0;
  int64_t q_lora_rank = 0;  ///< 0: one q_proj
  int64_t kv_lora_rank = 0, qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
  int64_t intermediate_size = 0, moe_intermediate_size = 0;
  int64_t n_routed_experts = 0;  ///< 0: every layer is dense
  int64_t n_shared_experts = 0, num_experts_per_tok = 0, n_group = 1, topk_group = 1;
  kernels::GateScoring scoring_func = kernels::GateScoring::kSigmoid;
  TopkMethod topk_method = TopkMethod::kNoauxTc;
  bool norm_topk_prob = true;
  double routed_scaling_factor = 1;
  double rope_theta = 10000;
  std::optional<YarnConfig> rope_scaling;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  double initializer_range = 0.006;  ///< N(0, 0.006²), TR §4.2
  bool tie_word_embeddings = false;
  std::optional<int64_t> bos_token_id, eos_token_id, pad_token_id;
  /// When config.json's eos_token_id is a list, what follows its first entry: these end a text too.
  std::vector<int64_t> more_eos_token_ids;
  /// Set when the checkpoint's weights are quantized. to_json writes it back, so reset it before
  /// writing weights in another format.
  std::optional<QuantizationConfig> quantization;

  /// Reads and validates a config.json; every problem found is listed in one Error that names the
  /// file, the field, its value and what would be right.
  static ModelConfig from_file(const std::filesystem::path& config_json);
  static ModelConfig from_json(std::string_view json, const std::string& source);
  /// A name from preset_names(): nano, micro, small, … or a published shape such as deepseek-v3.
  /// An unknown name is an Error that lists them.
  static ModelConfig preset(std::string_view name);
  static const std::vector<std::string>& preset_names();

  /// As config.json, loadable by transformers' AutoConfig/AutoModelForCausalLM.
  /// torch_dtype: "bfloat16" or "float32", what the weights are stored in.
  std::string to_json(std::string_view torch_dtype) const;
  /// Throws as from_json does when fields contradict each other.
  void validate(const std::string& source) const;

  bool is_moe_layer(int64_t layer) const {
    return n_routed_experts > 0 && layer >= first_k_dense_replace && layer % moe_layer_freq == 0;
  }
  int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  /// Latent cache values a token a layer: 576 for the published models.
  int64_t cache_width() const { return kv_lora_rank + qk_rope_head_dim; }
  bool has_correction_bias() const { return topk_method == TopkMethod::kNoauxTc; }
  kernels::GateConfig gate() const;
  /// 1/sqrt(qk_head_dim), times m² under YaRN with mscale_all_dim (spec A.3).
  float softmax_scale() const;

  bool operator==(const ModelConfig&) const = default;
};

}  // namespace fathom
