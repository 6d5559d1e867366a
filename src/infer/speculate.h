#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "infer/engine.h"
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

struct SpeculationCounts {
  int64_t drafted = 0, accepted = 0;
};

/// Continues a sequence by one or more tokens a step: drafts from the MTP modules, verified by one
/// pass of the main model. The tokens are distributed as without drafts; when greedy they are the
/// same tokens. With no drafts a step is one ordinary token.
class Speculator {
 public:
  /// Throws when drafts is negative or above what one pass verifies (kernels::kSmallM − 1), or the
  /// engine has no MTP modules to draft with.
  Speculator(Engine& engine, const Sampler& sampler, int64_t drafts);

  struct Step {
    std::vector<int32_t> tokens;  ///< at least one; the last is not in the engine's cache yet
    ConstTensorView logits_TV;    ///< row t is what tokens[t] was chosen from
  };
  /// `token` is the one chosen last, not in the engine's cache yet. The engine's context must have
  /// room for it.
  Step next(int32_t token);

  const SpeculationCounts& counts() const { return counts_; }

 private:
  struct Draft {
    int32_t token;
    std::vector<float> q_V;
  };
  std::vector<Draft> make_drafts(std::vector<int32_t>& sequence);
  bool choose(const std::vector<Draft>& drafts, size_t accepted, std::span<const int32_t> before,
              Step& step) const;

  Engine& engine_;
  const Sampler& sampler_;
  int64_t drafts_;
  SpeculationCounts counts_;
};

}  // namespace fathom
