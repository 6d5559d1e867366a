#include "infer/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "infer/stop_matcher.h"

namespace fathom {
namespace {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

double rate(int64_t tokens, double seconds) {
  return tokens > 0 && seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

int64_t common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

class Generation {
 public:
  Generation(Engine& engine, std::span<const int32_t> prompt, const GenerateOptions& options,
             const OnToken& on_token)
      : engine_(engine),
        options_(options),
        on_token_(on_token),
        prompt_(prompt),
        sampler_(options.sampler),
        speculator_(engine, sampler_, options.drafts),
        matcher_(options.stop) {
    check();
    const int64_t room = engine.max_context() - prompt_size();
    limit_ = options.max_new_tokens > 0 ? std::min(options.max_new_tokens, room) : room;
  }

  GenerateResult run() {
    result_.prompt_tokens = prompt_size();
    const Stopwatch prefill_time;
    const ConstTensorView logits_1V = read_prompt();
    const auto p_V = sampler_.distribution(logits_row(logits_1V, 0), prompt_);
    int32_t token = sampler_.draw(p_V, prompt_size(), RandomStream::kToken);
    result_.prefill_seconds = prefill_time.seconds();
    const Stopwatch decode_time;
    bool more = emit(token, logits_row(logits_1V, 0));
    while (more) {
      const Speculator::Step step = speculator_.next(token);
      for (size_t t = 0; t < step.tokens.size() && more; ++t)
        more = emit(step.tokens[t], logits_row(step.logits_TV, static_cast<int64_t>(t)));
      token = step.tokens.back();
    }
    result_.decode_seconds = decode_time.seconds();
    result_.mtp = speculator_.counts();
    const int64_t read = prompt_size() + static_cast<int64_t>(result_.ids.size()) - 1;
    engine_.truncate(std::min(engine_.position(), read));
    return std::move(result_);
  }

 private:
  int64_t prompt_size() const { return static_cast<int64_t>(prompt_.size()); }

  void check() const {
    if (prompt_.empty()) throw Error("the prompt has no tokens", "give it at least one");
    if (prompt_size() >= engine_.max_context())
      throw Error(fmt::format("the prompt has {} tokens and the context holds {}: no room for an "
                              "answer",
                              prompt_size(), engine_.max_context()),
                  "shorten the prompt, or open the model with a longer context");
    if (options_.max_new_tokens < 0)
      throw Error(fmt::format("max_new_tokens = {}: must be 0 (until the context is full) or more",
                              options_.max_new_tokens));
    if (options_.top_logprobs && *options_.top_logprobs < 0)
      throw Error(fmt::format("top_logprobs = {}: must be 0 or more", *options_.top_logprobs));
    FATHOM_ASSERT(options_.stop.empty() || options_.token_text);
  }

  ConstTensorView read_prompt() {
    // The last prompt token is read again even when cached: its logits are not kept.
    const int64_t kept = std::min(common_prefix(engine_.tokens(), prompt_), prompt_size() - 1);
    result_.reused_tokens = options_.reuse_cache ? kept : 0;
    engine_.truncate(result_.reused_tokens);
    return engine_.prefill(prompt_.subspan(static_cast<size_t>(result_.reused_tokens)));
  }

  bool is_eos(int32_t id) const {
    const ModelConfig& config = engine_.model().config();
    const auto& more = config.more_eos_token_ids;
    return config.eos_token_id == id || std::find(more.begin(), more.end(), id) != more.end();
  }

  /// Adds a token to the result; false when it was the last.
  bool emit(int32_t id, std::span<const float> logits_V) {
    result_.ids.push_back(id);
    const bool eos = !options_.ignore_eos && is_eos(id);
    std::string text;
    if (options_.token_text && !eos) text = matcher_.feed(options_.token_text(id));
    const bool stop = eos || matcher_.matched();
    const bool last = stop || static_cast<int64_t>(result_.ids.size()) == limit_;
    if (last) text += matcher_.flush();
    result_.text += text;
    result_.finish_reason = stop ? FinishReason::kStop : FinishReason::kLength;
    if (options_.top_logprobs)
      result_.logprobs.push_back(logprobs_of(logits_V, id, *options_.top_logprobs));
    const Logprobs* logprobs = options_.top_logprobs ? &result_.logprobs.back() : nullptr;
    if (!on_token_ || on_token_({id, text, logprobs}) || last) return !last;
    result_.finish_reason = FinishReason::kInterrupted;
    return false;
  }

  Engine& engine_;
  const GenerateOptions& options_;
  const OnToken& on_token_;
  std::span<const int32_t> prompt_;
  Sampler sampler_;
  Speculator speculator_;
  StopMatcher matcher_;
  int64_t limit_ = 0;
  GenerateResult result_;
};

}  // namespace

const char* name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kInterrupted:
      return "interrupted";
  }
  return "";
}

double GenerateResult::prefill_tokens_per_s() const {
  return rate(prompt_tokens - reused_tokens, prefill_seconds);
}

double GenerateResult::decode_tokens_per_s() const {
  return rate(static_cast<int64_t>(ids.size()) - 1, decode_seconds);
}

GenerateResult generate(Engine& engine, std::span<const int32_t> prompt,
                        const GenerateOptions& options, const OnToken& on_token) {
  return Generation(engine, prompt, options, on_token).run();
}

}  // namespace fathom
