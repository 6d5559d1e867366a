#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "base/philox.h"
#include "infer/cached_model.h"
#include "infer/engine.h"
#include "infer/token_range.h"
#include "model/transformer.h"

namespace fathom {

using kernels::GemmPrecision;

/// A model of random weights with what it needs to run. Weights are large enough (0.15 over widths
/// of tens) for attention and gates to be sharp.
class TestModel {
 public:
  TestModel(const ModelConfig& config, DType dtype, uint64_t seed, int64_t positions = 128)
      : storage_(config, dtype, false), model_(config, initialized(config, seed), positions) {}
  const Transformer& operator*() const { return model_; }
  const Transformer* operator->() const { return &model_; }
  ModelWeights& weights() { return storage_.weights; }

 private:
  const ModelWeights& initialized(const ModelConfig& config, uint64_t seed) {
    initialize(config, storage_.weights, seed);
    return storage_.weights;
  }
  ModelStorage storage_;
  Transformer model_;
};

/// V3's kind, small: q_lora, one dense layer and mixtures with groups, sigmoid gate, one MTP
/// module.
inline ModelConfig small_config() {
  ModelConfig c;
  c.model_type = "deepseek_v3";
  c.vocab_size = 61;
  c.hidden_size = 64;
  c.num_hidden_layers = 3;
  c.first_k_dense_replace = 1;
  c.num_nextn_predict_layers = 1;
  c.num_attention_heads = 4;
  c.q_lora_rank = 24;
  c.kv_lora_rank = 32;
  c.qk_nope_head_dim = 16;
  c.qk_rope_head_dim = 8;
  c.v_head_dim = 12;
  c.intermediate_size = 96;
  c.moe_intermediate_size = 32;
  c.n_routed_experts = 8;
  c.n_shared_experts = 1;
  c.num_experts_per_tok = 2;
  c.n_group = 4;
  c.topk_group = 2;
  c.routed_scaling_factor = 2.5;
  c.max_position_embeddings = 128;
  c.initializer_range = 0.15;
  c.validate("small_config");
  return c;
}

struct NamedConfig {
  std::string name;
  ModelConfig config;
};

/// Every variant of attention and feed-forward.
inline std::vector<NamedConfig> all_configs() {
  const ModelConfig v3 = small_config();
  ModelConfig yarn = v3;
  yarn.rope_scaling = YarnConfig{
      .factor = 8, .original_max_position_embeddings = 16, .mscale = 1, .mscale_all_dim = 1};
  ModelConfig dense = v3;
  dense.n_routed_experts = 0;
  dense.q_lora_rank = 0;
  ModelConfig lite = v3;
  lite.model_type = "deepseek_v2";
  lite.q_lora_rank = 0;
  lite.num_nextn_predict_layers = 0;
  lite.scoring_func = kernels::GateScoring::kSoftmax;
  lite.topk_method = ModelConfig::TopkMethod::kGreedy;
  lite.norm_topk_prob = false;
  lite.n_group = lite.topk_group = 1;
  lite.n_shared_experts = 2;
  ModelConfig v2 = lite;
  v2.q_lora_rank = 24;
  v2.topk_method = ModelConfig::TopkMethod::kGroupLimitedGreedy;
  v2.n_group = 4;
  v2.topk_group = 2;
  v2.tie_word_embeddings = true;
  return {{"v3", v3}, {"v3_yarn", yarn}, {"dense", dense}, {"v2_lite", lite}, {"v2", v2}};
}

inline std::vector<int32_t> random_tokens(const ModelConfig& config, int64_t count, uint64_t seed) {
  const Philox random(seed, 99);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>(
        random.below(static_cast<uint64_t>(i), static_cast<uint64_t>(config.vocab_size))));
  return tokens;
}

inline std::vector<float> values(ConstTensorView x_TV) {
  return {x_TV.as<float>(), x_TV.as<float>() + x_TV.elements()};
}

inline void extend(std::vector<float>& to, const std::vector<float>& more) {
  to.insert(to.end(), more.begin(), more.end());
}

/// ||a − b|| / ||b||
inline double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  FATHOM_ASSERT(a.size() == b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = double{a[i]} - double{b[i]};
    difference += d * d;
    norm += double{b[i]} * double{b[i]};
  }
  return std::sqrt(difference / norm);
}

/// Logits of whole sequences by the training forward: main [T,V], then each MTP depth k over the
/// T-k positions whose token is known.
struct FullLogits {
  FullLogits(const Transformer& model, ThreadPool& pool, GemmPrecision precision,
             std::span<const int32_t> tokens) {
    Arena arena;
    Context ctx{Device{}, pool, arena};
    TransformerSaved saved;
    auto count = static_cast<int64_t>(tokens.size());
    const TokenRange all(0, count);
    const Pass pass = all.pass(ctx, precision);
    TensorView hidden_TD = model.forward(pass, tokens, {}, saved);
    depths.push_back(logits(model, pass, hidden_TD));
    for (int64_t k = 0; k < static_cast<int64_t>(model.mtp().size()) && --count > 0; ++k) {
      const TokenRange range(0, count);
      const Pass shorter = range.pass(ctx, precision);
      hidden_TD = model.forward_mtp(shorter, k, tokens.subspan(static_cast<size_t>(k + 1)),
                                    hidden_TD.row_range(0, count), {}, saved);
      depths.push_back(logits(model, shorter, hidden_TD));
    }
  }

  std::vector<std::vector<float>> depths;

 private:
  static std::vector<float> logits(const Transformer& model, const Pass& pass,
                                   ConstTensorView hidden_TD) {
    const TensorView out_TV = pass.alloc_f32(hidden_TD.rows(), model.config().vocab_size);
    model.logits(pass, hidden_TD, out_TV);
    return values(out_TV);
  }
};

/// One sequence over a model's caches, read in passes of the test's choice.
class Reader {
 public:
  explicit Reader(CachedModel& model) : model_(model), cache_(model.pages()) {}

  SequenceCache& cache() { return cache_; }
  /// Logits after each token, read in one pass.
  std::vector<float> read(TokenForm form, std::span<const int32_t> tokens) {
    FATHOM_ASSERT(cache_.reserve(cache_.length() + std::ssize(tokens)));
    const ArenaScope scope(model_.arena());
    const CachedModel::Tokens part{&cache_, tokens};
    return logits_of(model_, model_.forward(form, {&part, 1}));
  }
  std::vector<float> stream(std::span<const int32_t> tokens) {
    return read(TokenForm::kStreamed, tokens);
  }
  static std::vector<float> logits_of(CachedModel& model, ConstTensorView hidden_TD) {
    const int64_t vocab = model.model().config().vocab_size;
    const TensorView out_TV = model.arena().alloc(DType::kF32, {hidden_TD.rows(), vocab});
    model.logits(hidden_TD, out_TV);
    return values(out_TV);
  }

 private:
  CachedModel& model_;
  SequenceCache cache_;
};

}  // namespace fathom
