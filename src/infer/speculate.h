#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "infer/sampler.h"

namespace fathom {

struct Verdict {
  bool accepted = false;
  int32_t token = 0;  ///< the draft, or what replaces it
};

/// Speculative sampling (Leviathan et al. 2023): a draft drawn from draft_V is accepted with
/// probability min(1, p/q), or else replaced by a token from (p − q)⁺, so that the token is
/// distributed as target_V whatever the draft. position: the token's, for its random numbers.
Verdict verify_draft(const Sampler& sampler, std::span<const float> target_V,
                     std::span<const float> draft_V, int32_t draft, int64_t position);

/// Decides how many tokens a step drafts: by the seconds that steps take with each number of
/// drafts, and by how often drafts are accepted, for each number of sequences. Every number is
/// tried first; later, now and then, a neighbour of the best.
class DraftPolicy {
 public:
  /// Drafts of the next step over so many sequences, 0 to most.
  int64_t drafts(int64_t sequences, int64_t most);
  /// Of one sequence in a step.
  struct Outcome {
    int64_t drafted, accepted;
  };
  /// A step that made at most `drafts` drafts for each of its sequences.
  void record(int64_t drafts, double seconds, std::span<const Outcome> sequences);

 private:
  /// An average in which recent values count more.
  struct Average {
    int64_t values = 0;
    double mean = 0;
    void add(double value, double least_weight);
  };
  struct Batch {
    std::vector<Average> seconds;  ///< of a step, by drafts
    std::vector<Average> reached;  ///< by i: whether the first i + 1 drafts were all accepted
    int64_t steps = 0;

    void make_room(int64_t drafts);
    int64_t best(int64_t most) const;
  };
  std::map<int64_t, Batch> batches_;  ///< by number of sequences
};

}  // namespace fathom
