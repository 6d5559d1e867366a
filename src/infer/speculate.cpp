#include "infer/speculate.h"

#include <algorithm>

namespace fathom {
namespace {

// Steps of one kind in a row while it is being tried, and steps between later trials.
constexpr int64_t kTrial = 4;
constexpr int64_t kPeriod = 64;
// What the newest value counts for in the averages. Acceptance is noisy, so that it must be small.
constexpr double kSecondsWeight = 0.1, kReachedWeight = 0.02;

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

void DraftPolicy::Average::add(double value, double least_weight) {
  mean += std::max(least_weight, 1.0 / static_cast<double>(++values)) * (value - mean);
}

void DraftPolicy::Batch::make_room(int64_t drafts) {
  if (std::ssize(seconds) <= drafts) seconds.resize(static_cast<size_t>(drafts) + 1);
  if (std::ssize(reached) < drafts) reached.resize(static_cast<size_t>(drafts));
}

/// The number of drafts with the fewest seconds a token.
int64_t DraftPolicy::Batch::best(int64_t most) const {
  int64_t best = 0;
  double tokens = 1, least = 0;
  for (int64_t k = 0; k <= most; ++k) {
    if (k > 0) tokens += reached[static_cast<size_t>(k - 1)].mean;
    const double seconds_a_token = seconds[static_cast<size_t>(k)].mean / tokens;
    if (k > 0 && seconds_a_token >= least) continue;
    best = k;
    least = seconds_a_token;
  }
  return best;
}

int64_t DraftPolicy::drafts(int64_t sequences, int64_t most) {
  Batch& b = batches_[sequences];
  b.make_room(most);
  for (int64_t k = most; k >= 0; --k)
    if (b.seconds[static_cast<size_t>(k)].values < kTrial) return k;
  const int64_t best = b.best(most);
  if (most == 0 || b.steps % kPeriod >= kTrial) return best;
  const bool more = best == 0 || (best < most && b.steps / kPeriod % 2 == 0);
  return more ? best + 1 : best - 1;
}

void DraftPolicy::record(int64_t drafts, double seconds, std::span<const Outcome> sequences) {
  Batch& b = batches_[std::ssize(sequences)];
  b.make_room(drafts);
  ++b.steps;
  b.seconds[static_cast<size_t>(drafts)].add(seconds, kSecondsWeight);
  for (const Outcome& o : sequences)
    for (int64_t i = 0; i < std::min(o.drafted, drafts); ++i)
      b.reached[static_cast<size_t>(i)].add(o.accepted > i, kReachedWeight);
}

}  // namespace fathom
