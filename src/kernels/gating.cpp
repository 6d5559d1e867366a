#include "kernels/gating.h"

#include <cmath>
#include <limits>

#include "kernels/cpu/ops_common.h"

namespace fathom::kernels {
namespace {

using namespace cpu;

constexpr float kNormalizerEps = 1e-20f;
constexpr int64_t kMaxTopK = 64, kMaxGroups = 64;

/// NaN ranks above everything, as in PyTorch's topk: it reaches the loss instead of vanishing.
float rank_key(float x) {
  return std::isnan(x) ? std::numeric_limits<float>::infinity() : x;
}

/// The k best of the candidates offered, best first, the earliest first among equals.
class TopK {
 public:
  explicit TopK(int64_t k) : k_(k) {}

  void offer(float key, int64_t index) {
    if (size_ == k_ && !(key > key_[k_ - 1])) return;
    int64_t i = size_ < k_ ? size_++ : k_ - 1;
    for (; i > 0 && key > key_[i - 1]; --i) key_[i] = key_[i - 1], index_[i] = index_[i - 1];
    key_[i] = key, index_[i] = static_cast<int32_t>(index);
  }
  int64_t size() const { return size_; }
  int32_t operator[](int64_t i) const { return index_[i]; }

 private:
  int64_t k_, size_ = 0;
  float key_[kMaxTopK];
  int32_t index_[kMaxTopK];
};

void check_config(const GateConfig& c) {
  FATHOM_ASSERT(c.experts > 0 && c.top_k > 0 && c.top_k <= std::min(c.experts, kMaxTopK));
  if (c.selection == GateSelection::kGreedy) return;
  FATHOM_ASSERT(c.groups > 0 && c.groups <= kMaxGroups && c.experts % c.groups == 0);
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

TopK best_groups(const GateConfig& c, const float* biased) {
  const int64_t width = c.experts / c.groups;
  TopK groups(c.topk_groups);
  for (int64_t g = 0; g < c.groups; ++g)
    groups.offer(group_score(c.selection, biased + g * width, width), g);
  return groups;
}

TopK choose(const GateConfig& c, const float* biased) {
  TopK best(c.top_k);
  if (c.selection == GateSelection::kGreedy) {
    for (int64_t e = 0; e < c.experts; ++e) best.offer(rank_key(biased[e]), e);
    return best;
  }
  bool kept[kMaxGroups] = {};
  const TopK groups = best_groups(c, biased);
  for (int64_t i = 0; i < groups.size(); ++i) kept[groups[i]] = true;
  // Offering only the experts of kept groups is masking the others with −inf, without ties
  // between the two.
  const int64_t width = c.experts / c.groups;
  for (int64_t e = 0; e < c.experts; ++e)
    if (kept[e / width]) best.offer(rank_key(biased[e]), e);
  return best;
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
  float* biased_E = ctx.arena.alloc_array<float>(ctx.pool.size() * e);
  const auto score = config.scoring == GateScoring::kSigmoid ? ops(ctx).activation.sigmoid
                                                             : ops(ctx).activation.softmax;
  ctx.pool.for_range(t, grain_of(16 * e), [&](int64_t begin, int64_t end, int thread) {
    float* biased = biased_E + thread * e;
    for (int64_t i = begin; i < end; ++i) {
      score(logits.row(i), scores.row(i), e);
      for (int64_t j = 0; j < e; ++j) biased[j] = scores(i, j) + (bias ? bias[j] : 0);
      const TopK best = choose(config, biased);
      for (int64_t k = 0; k < top_k; ++k) expert(i, k) = best[k];
      const float factor = weight_factor(config, scores.row(i), expert.row(i));
      for (int64_t k = 0; k < top_k; ++k) weight(i, k) = scores(i, best[k]) * factor;
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

/// f_i and P_i of one sequence (TR eqs 18-20), f and p zeroed on entry.
void sequence_statistics(const GateConfig& c, MatrixView<const float> scores, int64_t begin,
                         int64_t length, double* f, double* p) {
  const double selected = static_cast<double>(c.experts) / static_cast<double>(c.top_k * length);
  for (int64_t t = begin; t < begin + length; ++t) {
    const float* s = scores.row(t);
    TopK best(c.top_k);
    double sum = 0;
    for (int64_t e = 0; e < c.experts; ++e) best.offer(rank_key(s[e]), e), sum += s[e];
    for (int64_t k = 0; k < c.top_k; ++k) f[best[k]] += selected;
    for (int64_t e = 0; e < c.experts; ++e) p[e] += s[e] / (sum * static_cast<double>(length));
  }
}

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
  const auto scores = scores_TE.matrix<float>();
  MatrixView<float> gradient;
  if (dscore_normalized_TE) {
    check_shape(kName, "dscore_normalized", dscore_normalized_TE, {t, e});
    gradient = dscore_normalized_TE.matrix<float>();
  }
  const int64_t sequences = t / seq_len;
  const ArenaScope scope(ctx.arena);
  double* loss = ctx.arena.alloc_array<double>(sequences);
  double* statistics = ctx.arena.alloc_array<double>(2 * e * sequences);
  std::fill_n(statistics, 2 * e * sequences, 0.0);
  for_items(ctx, sequences, 16 * e * seq_len, [&](int64_t first, int64_t last) {
    for (int64_t s = first; s < last; ++s) {
      double *f = statistics + 2 * e * s, *p = f + e;
      sequence_statistics(config, scores, s * seq_len, seq_len, f, p);
      loss[s] = 0;
      for (int64_t i = 0; i < e; ++i) loss[s] += alpha * f[i] * p[i];
    }
  });
  // d(loss)/ds'_{t,i} = α f_i / (tokens of the sequence · sequences), the same for all its tokens.
  const double scale = static_cast<double>(loss_scale) * alpha / static_cast<double>(t);
  if (gradient.data)
    for_items(ctx, t, 4 * e, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        for (int64_t j = 0; j < e; ++j)
          gradient(i, j) = static_cast<float>(scale * statistics[2 * e * (i / seq_len) + j]);
    });
  double total = 0;
  for (int64_t s = 0; s < sequences; ++s) total += loss[s];
  return static_cast<float>(total / static_cast<double>(sequences));
}

}  // namespace fathom::kernels
