#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "infer/speculate.h"

namespace fathom {

struct GenerateOptions {
  int64_t max_new_tokens = 0;  ///< 0: until the context is full
  SamplerOptions sampler = {};
  bool ignore_eos = false;
  std::vector<std::string> stop = {};  ///< text that ends the generation; not part of the result
  /// The bytes a token stands for. Needed for stop strings; without it texts are empty.
  std::function<std::string(int32_t)> token_text = {};
  int64_t drafts = 0;  ///< tokens drafted a step by the MTP modules; 0: no speculation
  /// Log probabilities of this many most probable tokens beside the chosen one's.
  std::optional<int64_t> top_logprobs = {};
  /// Keep what the engine has already read as far as the prompt begins with it (a conversation
  /// that goes on). Otherwise the sequence starts anew.
  bool reuse_cache = false;
};

enum class FinishReason : uint8_t {
  kStop,    ///< end-of-text token or stop string
  kLength,  ///< max_new_tokens, or the context is full
  kInterrupted,
};
const char* name_of(FinishReason reason);  // "stop", "length", "interrupted"

struct GeneratedToken {
  int32_t id;
  std::string_view text;  ///< what may be shown now: may lag behind while a stop string is possible
  const Logprobs* logprobs;  ///< null unless asked for
};
/// Returns false to interrupt.
using OnToken = std::function<bool(const GeneratedToken&)>;

struct GenerateResult {
  std::vector<int32_t> ids;  ///< the end-of-text token included
  std::string text;
  std::vector<Logprobs> logprobs;
  FinishReason finish_reason = FinishReason::kLength;
  int64_t prompt_tokens = 0, reused_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
  SpeculationCounts mtp;

  double prefill_tokens_per_s() const;
  /// Of the tokens after the first, which belongs to the prefill.
  double decode_tokens_per_s() const;
};

/// Continues the prompt. Throws when the prompt is empty or leaves no room in the context, or
/// options make no sense. The engine then holds the prompt and what was generated but the last
/// token.
GenerateResult generate(Engine& engine, std::span<const int32_t> prompt,
                        const GenerateOptions& options, const OnToken& on_token = {});

}  // namespace fathom
