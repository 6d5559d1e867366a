#include "infer/speculate.h"

#include <algorithm>

namespace fathom {
namespace {

// Steps of one kind in a row while it is being tried, and steps between trials of the slower one.
constexpr int64_t kTrial = 4;
constexpr int64_t kPeriod = 64;
// What the newest step counts for in the averages. Acceptance is noisy, so that it must be small.
constexpr double kWeight = 0.1;

}  // namespace

Verdict verify_draft(const Sampler& sampler, std::span<const float> target_V,
                     std::span<const float> draft_V, int32_t draft, int64_t position) {
  const auto d = static_cast<size_t>(draft);
  const double u = sampler.uniform(position, RandomStream::kAccept);
  if (u * draft_V[d] < target_V[d]) return {true, draft};
  std::vector<float> rest_V(target_V.size());
  bool any = false;
  for (size_t i = 0; i < rest_V.size(); ++i) {
    rest_V[i] = std::max(0.0f, target_V[i] - draft_V[i]);
    any |= rest_V[i] > 0;
  }
  // Nothing is left only where p and q differ by rounding.
  return {false, sampler.draw(any ? rest_V : target_V, position, RandomStream::kToken)};
}

void DraftPolicy::Way::add(double s, double t) {
  const double weight = std::max(kWeight, 1.0 / static_cast<double>(++steps));
  seconds += weight * (s - seconds);
  tokens += weight * (t - tokens);
}

bool DraftPolicy::should_draft(int64_t sequences) {
  Batch& b = batches_[sequences];
  if (b.drafted.steps < kTrial) return true;
  if (b.plain.steps < kTrial) return false;
  const bool faster = b.drafted.seconds_a_token() < b.plain.seconds_a_token();
  const bool trial = b.steps % kPeriod < kTrial;
  return faster != trial;
}

void DraftPolicy::record(bool drafted, int64_t sequences, double seconds, int64_t tokens) {
  Batch& b = batches_[sequences];
  ++b.steps;
  (drafted ? b.drafted : b.plain).add(seconds, static_cast<double>(tokens));
}

}  // namespace fathom
