#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fathom {

struct SamplerOptions {
  float temperature = 0;         ///< 0: greedy, the lowest id on ties
  int64_t top_k = 0;             ///< keep the k most probable tokens; 0: all
  float top_p = 1;               ///< keep the fewest tokens whose probabilities reach top_p
  float min_p = 0;               ///< keep tokens at least min_p times as probable as the best
  float repetition_penalty = 1;  ///< Keskar et al. 2019: of tokens in the sequence, logits > 0 are
                                 ///< divided by it and others multiplied
  uint64_t seed = 0;
};

/// Throws an Error naming the field whose value makes no sense.
void validate(const SamplerOptions& options);

/// Independent random streams of one seed, each with one number a position.
enum class RandomStream : uint64_t {
  kToken,   ///< the token at that position, when it comes from the model
  kDraft,   ///< the drafted token
  kAccept,  ///< whether the draft is accepted
};

/// How tokens are chosen. Options apply in the order repetition penalty, temperature, top-k, top-p,
/// min-p, each on what the one before left, renormalised. Random numbers belong to positions: what
/// is drawn at one does not depend on how many were drawn before.
class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options);

  /// Probabilities [V] after all options; one token has 1 when greedy. history: the whole sequence
  /// so far. Throws when a logit is NaN or infinite.
  std::vector<float> distribution(std::span<const float> logits_V,
                                  std::span<const int32_t> history) const;
  /// One token from non-negative weights, which need not sum to 1.
  int32_t draw(std::span<const float> weight_V, int64_t position, RandomStream stream) const;
  /// Uniform in [0, 1), 53 bits.
  double uniform(int64_t position, RandomStream stream) const;

 private:
  SamplerOptions options_;
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};

/// Natural logarithms of the model's own probabilities, before any sampling option.
struct Logprobs {
  float chosen = 0;
  std::vector<TokenLogprob> top;  ///< most probable first; lowest id first on ties
};

Logprobs logprobs_of(std::span<const float> logits_V, int32_t chosen, int64_t top);

}  // namespace fathom
