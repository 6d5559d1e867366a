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

/// Decides whether steps draft: by the seconds that a step takes with and without and the tokens
/// that it yields, for each number of sequences. Both are tried first; the slower is tried again
/// now and then.
class DraftPolicy {
 public:
  bool should_draft(int64_t sequences);
  /// A step over so many sequences that gave so many tokens.
  void record(bool drafted, int64_t sequences, double seconds, int64_t tokens);

 private:
  struct Way {
    int64_t steps = 0;
    double seconds = 0, tokens = 0;  ///< of a step, recent ones counting more
    double seconds_a_token() const { return seconds / tokens; }
    void add(double s, double t);
  };
  struct Batch {
    Way plain, drafted;
    int64_t steps = 0;
  };
  std::map<int64_t, Batch> batches_;
};

}  // namespace fathom
