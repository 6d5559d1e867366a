#include "kernels/gating.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "kernels/cpu/ops_common.h"

namespace fathom::kernels {
namespace {

using namespace cpu;

constexpr float kNormalizerEps = 1e-20f;

/// NaN ranks above everything, as in PyTorch's topk: it reaches the loss instead of vanishing.
float rank_key(float x) {
  return std::isnan(x) ? std::numeric_limits<float>::infinity() : x;
}

/// The k best of the candidates offered, best first, the earliest first among equals.
class TopK {
 public:
  TopK(Arena& arena, int64_t k)
      : k_(k), key_(arena.alloc_array<float>(k)), index_(arena.alloc_array<int32_t>(k)) {}

  void clear() { size_ = 0; }
  void offer(float key, int64_t index) {
    if (size_ == k_ && !(key > key_[k_ - 1])) return;
    int64_t i = size_ < k_ ? size_++ : k_ - 1;
    for (; i > 0 && key > key_[i - 1]; --i) key_[i] = key_[i - 1], index_[i] = index_[i - 1];
    key_[i] = key, index_[i] = static_cast<int32_t>(index);
  }
  std::span<const int32_t> best() const { return {index_, static_cast<size_t>(size_)}; }

 private:
  int64_t k_, size_ = 0;
  float* key_;
  int32_t* index_;
};

void check_config(const GateConfig& c) {
  FATHOM_ASSERT(c.experts > 0 && c.top_k > 0 && c.top_k <= c.experts);
  if (c.selection == GateSelection::kGreedy) return;
  FATHOM_ASSERT(c.groups > 0 && c.experts % c.groups == 0);
  FATHOM_ASSERT(c.topk_groups > 0 && c.topk_groups <= c.groups);
  FATHOM_ASSERT(c.top_k <= c.topk_groups * (c.experts / c.groups));
}

/// Best, or sum of the two best, of a group's biased scores.
float group_score(GateSelection selection, const float* biased, int64_t n) {
  float first = -std::numeric_limits<float>::infinity(), second = first;
  for (int64_t i = 0; i < n; ++i) {
    const float key = rank_key(biased[i]);
    if (key > first)
      second = first, first = key;
    else if (key > second)
      second = key;
  }
  return selection == GateSelection::kGroupMax || n == 1 ? first : first + second;
}

/// Chooses experts token by token; one for each thread.
class Selector {
 public:
  Selector(Arena& arena, const GateConfig& config)
      : config_(config),
        experts_(arena, config.top_k),
        groups_(arena, config.topk_groups),
        biased_(arena.alloc_array<float>(config.experts)) {}

  /// By the scores plus the bias (which may be null), within the best groups.
  std::span<const int32_t> choose(const float* scores_E, const float* bias_E) {
    for (int64_t e = 0; e < config_.experts; ++e)
      biased_[e] = scores_E[e] + (bias_E ? bias_E[e] : 0);
    experts_.clear();
    if (config_.selection == GateSelection::kGreedy) {
      offer(biased_, 0, config_.experts);
      return experts_.best();
    }
    // Leaving the experts of rejected groups out is masking them with −inf, without ties between
    // the two. Groups in ascending order, so that the lowest expert comes first among equals.
    const int64_t width = config_.experts / config_.groups;
    choose_groups(width);
    for (int64_t g = 0; g < config_.groups; ++g)
      if (std::ranges::find(groups_.best(), g) != groups_.best().end())
        offer(biased_, g * width, (g + 1) * width);
    return experts_.best();
  }

  /// By the scores alone, of all experts.
  std::span<const int32_t> choose_greedily(const float* scores_E) {
    experts_.clear();
    offer(scores_E, 0, config_.experts);
    return experts_.best();
  }

 private:
  void offer(const float* key_E, int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e) experts_.offer(rank_key(key_E[e]), e);
  }
  void choose_groups(int64_t width) {
    groups_.clear();
    for (int64_t g = 0; g < config_.groups; ++g)
      groups_.offer(group_score(config_.selection, biased_ + g * width, width), g);
  }

  const GateConfig& config_;
  TopK experts_, groups_;
  float* biased_;
};

std::vector<Selector> selectors(Context& ctx, const GateConfig& config) {
  std::vector<Selector> out;
  for (int t = 0; t < ctx.pool.size(); ++t) out.emplace_back(ctx.arena, config);
  return out;
}

/// What a chosen score is multiplied by to give its weight.
float weight_factor(const GateConfig& c, const float* scores, const int32_t* expert) {
  if (!c.normalize) return c.scaling_factor;
  float sum = kNormalizerEps;
  for (int64_t k = 0; k < c.top_k; ++k) sum += scores[expert[k]];
  return c.scaling_factor / sum;
}

/// dscores (zeroed) += the gradient through the chosen weights w_k = factor·s_k, where factor holds
/// 1/Σ s when normalising: ds_k = factor·(dw_k − Σ_j dw_j s_j / Σ s).
void add_weight_gradient(const GateConfig& c, const float* scores, const int32_t* expert,
                         const float* dweight, float* dscores) {
  const float factor = weight_factor(c, scores, expert);
  float mean = 0;
  if (c.normalize)
    for (int64_t k = 0; k < c.top_k; ++k)
      mean += dweight[k] * scores[expert[k]] * (factor / c.scaling_factor);
  for (int64_t k = 0; k < c.top_k; ++k) dscores[expert[k]] += factor * (dweight[k] - mean);
}

/// dscores += the gradient through s' = s / Σ s: (ds'_i − Σ_j ds'_j s'_j) / Σ s.
void add_normalized_gradient(const float* scores, const float* dnormalized, int64_t n,
                             float* dscores) {
  float sum = 0, dot = 0;
  for (int64_t i = 0; i < n; ++i) sum += scores[i], dot += dnormalized[i] * scores[i];
  for (int64_t i = 0; i < n; ++i) dscores[i] += (dnormalized[i] - dot / sum) / sum;
}

/// In place, dscores to dlogits.
void scoring_backward(GateScoring scoring, const float* scores, int64_t n, float* d) {
  if (scoring == GateScoring::kSigmoid) {
    for (int64_t i = 0; i < n; ++i) d[i] *= scores[i] * (1 - scores[i]);
    return;
  }
  float dot = 0;
  for (int64_t i = 0; i < n; ++i) dot += d[i] * scores[i];
  for (int64_t i = 0; i < n; ++i) d[i] = scores[i] * (d[i] - dot);
}

}  // namespace

void gating_forward(Context& ctx, const GateConfig& config, ConstTensorView logits_TE,
                    ConstTensorView bias_E, TensorView scores_TE, TensorView expert_TK,
                    TensorView weight_TK) {
  constexpr const char* kName = "gating_forward";
  const int64_t t = logits_TE.rows(), e = config.experts, top_k = config.top_k;
  check_config(config);
  check_same_device(kName, ctx, {logits_TE, bias_E, scores_TE, expert_TK, weight_TK});
  check_shape(kName, "logits", logits_TE, {t, e});
  check_shape(kName, "scores", scores_TE, {t, e});
  check_shape(kName, "expert", expert_TK, {t, top_k});
  check_shape(kName, "weight", weight_TK, {t, top_k});
  if (bias_E) check_shape(kName, "bias", bias_E, {e});
  const auto logits = logits_TE.matrix<float>();
  const auto scores = scores_TE.matrix<float>(), weight = weight_TK.matrix<float>();
  const auto expert = expert_TK.matrix<int32_t>();
  const float* bias = bias_E ? bias_E.as<float>() : nullptr;
  const ArenaScope scope(ctx.arena);
  std::vector<Selector> selector = selectors(ctx, config);
  const auto score = config.scoring == GateScoring::kSigmoid ? ops(ctx).activation.sigmoid
                                                             : ops(ctx).activation.softmax;
  ctx.pool.for_range(t, grain_of(16 * e), [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      score(logits.row(i), scores.row(i), e);
      std::ranges::copy(selector[thread].choose(scores.row(i), bias), expert.row(i));
      const float factor = weight_factor(config, scores.row(i), expert.row(i));
      for (int64_t k = 0; k < top_k; ++k) weight(i, k) = scores(i, expert(i, k)) * factor;
    }
  });
}

void gating_backward(Context& ctx, const GateConfig& config, ConstTensorView scores_TE,
                     ConstTensorView expert_TK, ConstTensorView dweight_TK,
                     ConstTensorView dscore_normalized_TE, TensorView dlogits_TE) {
  constexpr const char* kName = "gating_backward";
  const int64_t t = scores_TE.rows(), e = config.experts;
  check_config(config);
  check_same_device(kName, ctx,
                    {scores_TE, expert_TK, dweight_TK, dscore_normalized_TE, dlogits_TE});
  check_shape(kName, "scores", scores_TE, {t, e});
  check_shape(kName, "expert", expert_TK, {t, config.top_k});
  check_shape(kName, "dweight", dweight_TK, {t, config.top_k});
  check_shape(kName, "dlogits", dlogits_TE, {t, e});
  if (dscore_normalized_TE) check_shape(kName, "dscore_normalized", dscore_normalized_TE, {t, e});
  const auto scores = scores_TE.matrix<float>(), dweight = dweight_TK.matrix<float>();
  const auto expert = expert_TK.matrix<int32_t>();
  const auto dnormalized =
      dscore_normalized_TE ? dscore_normalized_TE.matrix<float>() : MatrixView<const float>{};
  const auto dlogits = dlogits_TE.matrix<float>();
  for_items(ctx, t, 16 * e, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* d = dlogits.row(i);
      std::fill_n(d, e, 0.0f);
      add_weight_gradient(config, scores.row(i), expert.row(i), dweight.row(i), d);
      if (dnormalized.data) add_normalized_gradient(scores.row(i), dnormalized.row(i), e, d);
      scoring_backward(config.scoring, scores.row(i), e, d);
    }
  });
}

namespace {

/// What the balance loss needs of a run of tokens (TR eqs 17-20).
struct BalanceStatistics {
  double* count_E;       ///< how often each expert is among the top-k
  double* normalized_E;  ///< Σ_t s'_{t,e}
};

/// Tokens summed together by one thread, whatever the team; runs do not cross sequences.
constexpr int64_t kRun = 128;

void add_tokens(int64_t experts, MatrixView<const float> scores, int64_t begin, int64_t end,
                Selector& selector, BalanceStatistics out) {
  for (int64_t t = begin; t < end; ++t) {
    const float* s = scores.row(t);
    for (const int32_t e : selector.choose_greedily(s)) out.count_E[e] += 1;
    const double sum = std::accumulate(s, s + experts, 0.0);
    for (int64_t e = 0; e < experts; ++e) out.normalized_E[e] += s[e] / sum;
  }
}

/// The statistics of every sequence, in runs combined in order.
class SequenceStatistics {
 public:
  SequenceStatistics(Context& ctx, const GateConfig& c, MatrixView<const float> scores,
                     int64_t seq_len)
      : experts_(c.experts), runs_((seq_len + kRun - 1) / kRun) {
    const int64_t sequences = scores.rows / seq_len, n = 2 * experts_ * runs_ * sequences;
    data_ = ctx.arena.alloc_array<double>(n);
    std::fill_n(data_, n, 0.0);
    std::vector<Selector> selector = selectors(ctx, c);
    const auto sum_runs = [&](int64_t first, int64_t last, int thread) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t start = i / runs_ * seq_len, from = i % runs_ * kRun;
        add_tokens(experts_, scores, start + from, start + std::min(from + kRun, seq_len),
                   selector[thread], run(i));
      }
    };
    ctx.pool.for_range(sequences * runs_, grain_of(16 * experts_ * kRun), sum_runs);
    for (int64_t i = 0; i < sequences * runs_; ++i)
      if (i % runs_ != 0)
        for (int64_t e = 0; e < 2 * experts_; ++e)
          run(i / runs_ * runs_).count_E[e] += run(i).count_E[e];
  }
  BalanceStatistics sequence(int64_t s) const { return run(s * runs_); }

 private:
  BalanceStatistics run(int64_t i) const {
    double* count = data_ + 2 * experts_ * i;
    return {count, count + experts_};
  }

  int64_t experts_, runs_;
  double* data_;
};

}  // namespace

float sequence_balance_loss(Context& ctx, const GateConfig& config, ConstTensorView scores_TE,
                            int64_t seq_len, float alpha, float loss_scale,
                            TensorView dscore_normalized_TE) {
  constexpr const char* kName = "sequence_balance_loss";
  const int64_t t = scores_TE.rows(), e = config.experts;
  check_config(config);
  check_same_device(kName, ctx, {scores_TE, dscore_normalized_TE});
  check_shape(kName, "scores", scores_TE, {t, e});
  FATHOM_ASSERT(seq_len > 0 && t > 0 && t % seq_len == 0);
  const ArenaScope scope(ctx.arena);
  const SequenceStatistics statistics(ctx, config, scores_TE.matrix<float>(), seq_len);
  // α f_i / T with f_i = count · E / (K · seq_len): times Σ s' it sums to the loss of a sequence
  // over their number, and it is the derivative with respect to s' of each of its tokens.
  const double factor = static_cast<double>(alpha) * static_cast<double>(e) /
                        static_cast<double>(config.top_k * seq_len) / static_cast<double>(t);
  double loss = 0;
  for (int64_t s = 0; s < t / seq_len; ++s) {
    const BalanceStatistics b = statistics.sequence(s);
    for (int64_t i = 0; i < e; ++i) loss += factor * b.count_E[i] * b.normalized_E[i];
  }
  if (!dscore_normalized_TE) return static_cast<float>(loss);

  check_shape(kName, "dscore_normalized", dscore_normalized_TE, {t, e});
  const auto gradient = dscore_normalized_TE.matrix<float>();
  for_items(ctx, t, 4 * e, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double* count = statistics.sequence(i / seq_len).count_E;
      for (int64_t j = 0; j < e; ++j)
        gradient(i, j) = static_cast<float>(loss_scale * factor * count[j]);
    }
  });
  return static_cast<float>(loss);
}

}  // namespace fathom::kernels
