#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "infer/sampler.h"

namespace fathom {

struct GenerateOptions {
  int64_t max_new_tokens = 0;  ///< 0: until the context is full
  SamplerOptions sampler = {};
  bool ignore_eos = false;
  std::vector<int64_t> more_eos_token_ids = {};  ///< end a text beside those of the model's config
  std::vector<std::string> stop = {};  ///< text that ends the generation; not part of the result
  /// The bytes a token stands for. Needed for stop strings; without it texts are empty.
  std::function<std::string(int32_t)> token_text = {};
  int64_t drafts = 0;  ///< tokens drafted a step by the MTP modules; 0: no speculation
  /// Let a greedy request draft fewer, or none, while that is measured to be faster. (Others always
  /// draft as asked, so that the same seed gives the same text.)
  bool adaptive_drafts = false;
  /// Log probabilities of this many most probable tokens beside the chosen one's.
  std::optional<int64_t> top_logprobs = {};
  /// Take from the cache what earlier requests have read of the same prompt, in whole pages.
  bool reuse_cache = true;
  /// The logits are the same bits whatever else is in the batch and in the cache. Unset: when
  /// greedy. False lets the prompt reuse tokens that were read in another form (token_form.h).
  std::optional<bool> batch_invariant = {};
};

enum class FinishReason : uint8_t {
  kStop,    ///< end-of-text token or stop string
  kLength,  ///< max_new_tokens, or the context or the cache is full
  kInterrupted,
  kError,  ///< see GenerateResult::error
};
const char* name_of(FinishReason reason);  // "stop", "length", "interrupted", "error"

struct GeneratedToken {
  int32_t id;
  std::string_view text;  ///< what may be shown now: may lag behind while a stop string is possible
  const Logprobs* logprobs;  ///< null unless asked for
};
/// Returns false to interrupt.
using OnToken = std::function<bool(const GeneratedToken&)>;

/// Asked between the layers of a pass: true gives the pass up.
using StopRequested = std::function<bool()>;

struct SpeculationCounts {
  int64_t drafted = 0, accepted = 0;
};

struct GenerateResult {
  std::vector<int32_t> ids;  ///< the end-of-text token included
  std::string text;
  std::vector<Logprobs> logprobs;
  FinishReason finish_reason = FinishReason::kLength;
  std::string error, error_hint;
  int64_t prompt_tokens = 0, reused_tokens = 0;
  int64_t preemptions = 0;  ///< times that others took its pages and it was read again
  /// From its start in the batch to the first token, and from there to the last.
  double prefill_seconds = 0, decode_seconds = 0;
  SpeculationCounts mtp;

  double prefill_tokens_per_s() const;
  /// Of the tokens after the first, which belongs to the prefill.
  double decode_tokens_per_s() const;
};
using OnFinish = std::function<void(GenerateResult)>;

/// What an engine is asked to continue.
struct Request {
  std::vector<int32_t> prompt;
  GenerateOptions options;
  OnToken on_token;    ///< called during step(); may be empty
  OnFinish on_finish;  ///< called once, during step() or cancel()
};

}  // namespace fathom
