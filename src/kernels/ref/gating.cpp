#include "kernels/ref/gating.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace fathom::kernels::ref {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Indices by falling key, the lowest index first among equals; NaN ranks highest.
std::vector<int32_t> ranked(std::span<const float> key) {
  std::vector<int32_t> order(key.size());
  std::iota(order.begin(), order.end(), 0);
  const auto rank = [&](int32_t i) { return std::isnan(key[i]) ? kInfinity : key[i]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return rank(a) > rank(b); });
  return order;
}

std::vector<float> masked_to_best_groups(const GateConfig& c, std::span<const float> biased_E) {
  const size_t groups = static_cast<size_t>(c.groups), width = biased_E.size() / groups;
  const size_t counted = c.selection == GateSelection::kGroupMax ? 1 : std::min<size_t>(2, width);
  std::vector<float> group_score(groups);
  for (size_t g = 0; g < groups; ++g) {
    const auto members = biased_E.subspan(g * width, width);
    const std::vector<int32_t> order = ranked(members);
    for (size_t i = 0; i < counted; ++i) group_score[g] += members[order[i]];
  }
  std::vector<float> masked(biased_E.size(), -kInfinity);
  const std::vector<int32_t> order = ranked(group_score);
  for (size_t i = 0; i < static_cast<size_t>(c.topk_groups); ++i)
    std::copy_n(&biased_E[order[i] * width], width, &masked[order[i] * width]);
  return masked;
}

double chosen_sum(std::span<const double> scores_E, std::span<const int32_t> expert_K) {
  double sum = 1e-20;
  for (const int32_t e : expert_K) sum += scores_E[e];
  return sum;
}

double dot(std::span<const double> a, std::span<const double> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

}  // namespace

Values gate_scores(GateScoring scoring, std::span<const double> logits_E) {
  Values s(logits_E.begin(), logits_E.end());
  if (scoring == GateScoring::kSigmoid) {
    for (double& x : s) x = 1 / (1 + std::exp(-x));
    return s;
  }
  const double max = *std::max_element(s.begin(), s.end());
  for (double& x : s) x = std::exp(x - max);
  const double sum = std::accumulate(s.begin(), s.end(), 0.0);
  for (double& x : s) x /= sum;
  return s;
}

std::vector<int32_t> gate_choose(const GateConfig& c, std::span<const float> biased_E) {
  std::vector<float> key(biased_E.begin(), biased_E.end());
  if (c.selection != GateSelection::kGreedy) key = masked_to_best_groups(c, biased_E);
  std::vector<int32_t> order = ranked(key);
  order.resize(static_cast<size_t>(c.top_k));
  return order;
}

Values gate_weights(const GateConfig& c, std::span<const double> scores_E,
                    std::span<const int32_t> expert_K) {
  const double sum = c.normalize ? chosen_sum(scores_E, expert_K) : 1;
  Values weight;
  for (const int32_t e : expert_K) weight.push_back(c.scaling_factor * scores_E[e] / sum);
  return weight;
}

Values gate_backward(const GateConfig& c, std::span<const double> scores_E,
                     std::span<const int32_t> expert_K, std::span<const double> dweight_K,
                     std::span<const double> dnormalized_E) {
  Values d(scores_E.size());
  const double sum = c.normalize ? chosen_sum(scores_E, expert_K) : 1;
  double mean = 0;
  for (size_t k = 0; c.normalize && k < expert_K.size(); ++k)
    mean += dweight_K[k] * scores_E[expert_K[k]] / sum;
  for (size_t k = 0; k < expert_K.size(); ++k)
    d[expert_K[k]] += c.scaling_factor * (dweight_K[k] - mean) / sum;
  if (!dnormalized_E.empty()) {
    const double all = std::accumulate(scores_E.begin(), scores_E.end(), 0.0);
    const double weighted = dot(dnormalized_E, scores_E) / all;
    for (size_t i = 0; i < d.size(); ++i) d[i] += (dnormalized_E[i] - weighted) / all;
  }
  const double through = c.scoring == GateScoring::kSoftmax ? dot(d, scores_E) : 0;
  for (size_t i = 0; i < d.size(); ++i)
    d[i] = c.scoring == GateScoring::kSoftmax ? scores_E[i] * (d[i] - through)
                                              : d[i] * scores_E[i] * (1 - scores_E[i]);
  return d;
}

double sequence_balance(const GateConfig& c, const Values& normalized_TE,
                        std::span<const int64_t> count_E, double alpha) {
  const size_t experts = count_E.size(), tokens = normalized_TE.size() / experts;
  double loss = 0;
  for (size_t e = 0; e < experts; ++e) {
    const double f = static_cast<double>(experts) * static_cast<double>(count_E[e]) /
                     static_cast<double>(c.top_k * static_cast<int64_t>(tokens));
    double p = 0;
    for (size_t t = 0; t < tokens; ++t) p += normalized_TE[t * experts + e];
    loss += alpha * f * p / static_cast<double>(tokens);
  }
  return loss;
}

}  // namespace fathom::kernels::ref
