#include "infer/completion.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace fathom {
namespace {

void check(const GenerateOptions& o) {
  if (o.max_new_tokens < 0)
    throw Error(fmt::format("max_new_tokens = {}: must be 0 (until the context is full) or more",
                            o.max_new_tokens));
  if (o.top_logprobs && *o.top_logprobs < 0)
    throw Error(fmt::format("top_logprobs = {}: must be 0 or more", *o.top_logprobs));
  FATHOM_ASSERT(o.stop.empty() || o.token_text);
}

double seconds_between(std::chrono::steady_clock::time_point a,
                       std::chrono::steady_clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

double rate(int64_t tokens, double seconds) {
  return tokens > 0 && seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

}  // namespace

const char* name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kInterrupted:
      return "interrupted";
    case FinishReason::kError:
      return "error";
  }
  return "";
}

double GenerateResult::prefill_tokens_per_s() const {
  return rate(prompt_tokens - reused_tokens, prefill_seconds);
}

double GenerateResult::decode_tokens_per_s() const {
  return rate(std::ssize(ids) - 1, decode_seconds);
}

Completion::Completion(const ModelConfig& config, const Request& request, int64_t limit)
    : config_(config),
      options_(request.options),
      on_token_(request.on_token),
      limit_(limit),
      matcher_(request.options.stop) {
  check(options_);
  if (options_.max_new_tokens > 0) limit_ = std::min(limit_, options_.max_new_tokens);
  result_.prompt_tokens = std::ssize(request.prompt);
}

void Completion::begin() {
  if (begin_ == Clock::time_point{}) begin_ = Clock::now();
}

bool Completion::is_eos(int32_t id) const {
  const auto is_in = [id](const std::vector<int64_t>& ids) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  return config_.eos_token_id == id || is_in(config_.more_eos_token_ids) ||
         is_in(options_.more_eos_token_ids);
}

bool Completion::accept(int32_t id, std::span<const float> logits_V) {
  if (result_.ids.empty()) first_ = Clock::now();
  result_.ids.push_back(id);
  const bool eos = !options_.ignore_eos && is_eos(id);
  std::string text;
  if (options_.token_text && !eos) text = matcher_.feed(options_.token_text(id));
  const bool stop = eos || matcher_.matched();
  const bool last = stop || left() == 0;
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

void Completion::end(FinishReason reason, std::string error, std::string hint) {
  result_.text += matcher_.flush();
  result_.finish_reason = reason;
  result_.error = std::move(error);
  result_.error_hint = std::move(hint);
}

GenerateResult Completion::take() {
  const auto now = Clock::now();
  if (first_ != Clock::time_point{}) {
    result_.prefill_seconds = seconds_between(begin_, first_);
    result_.decode_seconds = seconds_between(first_, now);
  }
  return std::move(result_);
}

}  // namespace fathom
