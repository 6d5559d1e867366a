#include "infer/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/philox.h"

namespace fathom {
namespace {

void check(bool good, const char* field, double value, const char* range) {
  if (!good) throw Error(fmt::format("{} = {}: must be {}", field, value, range));
}

void check_finite(std::span<const float> logits_V) {
  for (size_t i = 0; i < logits_V.size(); ++i)
    if (!std::isfinite(logits_V[i]))
      throw Error(fmt::format("the model gave token {} the logit {}", i, logits_V[i]),
                  "its weights are damaged or overflow: try --precision fp32");
}

void penalise(float penalty, std::span<const int32_t> history, std::span<float> logits_V) {
  if (penalty == 1) return;
  std::vector<bool> seen(logits_V.size());
  for (const int32_t id : history) {
    const auto i = static_cast<size_t>(id);
    if (seen[i]) continue;
    seen[i] = true;
    logits_V[i] = logits_V[i] > 0 ? logits_V[i] / penalty : logits_V[i] * penalty;
  }
}

size_t argmax(std::span<const float> x) {
  return static_cast<size_t>(std::max_element(x.begin(), x.end()) - x.begin());
}

// exp((logit − highest) / temperature): the best token weighs 1.
void to_weights(float temperature, std::span<float> logits_V) {
  const float highest = logits_V[argmax(logits_V)];
  for (float& x : logits_V) x = std::exp((x - highest) / temperature);
}

// Most probable first, lowest id first on ties.
auto by_rank(std::span<const float> weight_V) {
  return [weight_V](int32_t a, int32_t b) {
    const float x = weight_V[static_cast<size_t>(a)], y = weight_V[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
}

std::vector<int32_t> possible(std::span<const float> weight_V) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < weight_V.size(); ++i)
    if (weight_V[i] > 0) ids.push_back(static_cast<int32_t>(i));
  return ids;
}

void remove(std::span<const int32_t> ids, std::span<float> weight_V) {
  for (const int32_t id : ids) weight_V[static_cast<size_t>(id)] = 0;
}

void keep_top_k(int64_t k, std::span<float> weight_V) {
  std::vector<int32_t> ids = possible(weight_V);
  if (k == 0 || k >= static_cast<int64_t>(ids.size())) return;
  std::nth_element(ids.begin(), ids.begin() + k, ids.end(), by_rank(weight_V));
  remove(std::span(ids).subspan(static_cast<size_t>(k)), weight_V);
}

void keep_top_p(float top_p, std::span<float> weight_V) {
  if (top_p >= 1) return;
  const double wanted = top_p * std::accumulate(weight_V.begin(), weight_V.end(), 0.0);
  // A heap instead of a sort: the kept tokens are usually few.
  std::vector<int32_t> rest = possible(weight_V);
  const auto worse = [rank = by_rank(weight_V)](int32_t a, int32_t b) { return rank(b, a); };
  std::make_heap(rest.begin(), rest.end(), worse);
  double kept = 0;
  do {
    std::pop_heap(rest.begin(), rest.end(), worse);
    kept += weight_V[static_cast<size_t>(rest.back())];
    rest.pop_back();
  } while (kept < wanted && !rest.empty());
  remove(rest, weight_V);
}

void keep_min_p(float min_p, std::span<float> weight_V) {
  const float least = min_p * weight_V[argmax(weight_V)];
  for (float& w : weight_V)
    if (w < least) w = 0;
}

void normalise(std::span<float> weight_V) {
  const double sum = std::accumulate(weight_V.begin(), weight_V.end(), 0.0);
  for (float& w : weight_V) w = static_cast<float>(w / sum);
}

}  // namespace

void validate(const SamplerOptions& o) {
  check(o.temperature >= 0 && std::isfinite(o.temperature), "temperature", o.temperature,
        "0 (greedy) or more");
  check(o.top_k >= 0, "top_k", static_cast<double>(o.top_k), "0 (all tokens) or more");
  check(o.top_p > 0 && o.top_p <= 1, "top_p", o.top_p, "above 0 and at most 1");
  check(o.min_p >= 0 && o.min_p <= 1, "min_p", o.min_p, "from 0 to 1");
  check(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty), "repetition_penalty",
        o.repetition_penalty, "above 0");
}

Sampler::Sampler(const SamplerOptions& options) : options_(options) {
  validate(options);
}

std::vector<float> Sampler::distribution(std::span<const float> logits_V,
                                         std::span<const int32_t> history) const {
  check_finite(logits_V);
  std::vector<float> p(logits_V.begin(), logits_V.end());
  penalise(options_.repetition_penalty, history, p);
  if (options_.temperature == 0) {
    const size_t best = argmax(p);
    std::fill(p.begin(), p.end(), 0.0f);
    p[best] = 1;
    return p;
  }
  to_weights(options_.temperature, p);
  keep_top_k(options_.top_k, p);
  keep_top_p(options_.top_p, p);
  keep_min_p(options_.min_p, p);
  normalise(p);
  return p;
}

double Sampler::uniform(int64_t position, RandomStream stream) const {
  const auto words =
      Philox(options_.seed, static_cast<uint64_t>(stream)).block(static_cast<uint64_t>(position));
  const uint64_t bits = (uint64_t{words[0]} << 32) | words[1];
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

int32_t Sampler::draw(std::span<const float> weight_V, int64_t position,
                      RandomStream stream) const {
  double left = uniform(position, stream) * std::accumulate(weight_V.begin(), weight_V.end(), 0.0);
  int32_t last = -1;  // what rounding leaves over goes to the last possible token
  for (size_t i = 0; i < weight_V.size(); ++i) {
    if (weight_V[i] <= 0) continue;
    last = static_cast<int32_t>(i);
    left -= weight_V[i];
    if (left < 0) break;
  }
  FATHOM_ASSERT(last >= 0);
  return last;
}

Logprobs logprobs_of(std::span<const float> logits_V, int32_t chosen, int64_t top) {
  const double highest = logits_V[argmax(logits_V)];
  double sum = 0;
  for (const float x : logits_V) sum += std::exp(x - highest);
  const double log_sum = highest + std::log(sum);
  const auto logprob = [&](int32_t id) {
    return static_cast<float>(logits_V[static_cast<size_t>(id)] - log_sum);
  };
  Logprobs result{logprob(chosen), {}};
  std::vector<int32_t> ids(logits_V.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto count = std::clamp<int64_t>(top, 0, static_cast<int64_t>(ids.size()));
  std::partial_sort(ids.begin(), ids.begin() + count, ids.end(), by_rank(logits_V));
  for (int64_t i = 0; i < count; ++i)
    result.top.push_back({ids[static_cast<size_t>(i)], logprob(ids[static_cast<size_t>(i)])});
  return result;
}

}  // namespace fathom
