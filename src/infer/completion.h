#pragma once

#include <chrono>
#include <span>

#include "infer/request.h"
#include "infer/stop_matcher.h"
#include "model/config.h"

namespace fathom {

/// The text of one request as its tokens arrive: ends of text, stop strings, log-probabilities,
/// times.
class Completion {
 public:
  /// limit: tokens there is room for. Throws when an option makes no sense.
  Completion(const ModelConfig& config, const Request& request, int64_t limit);

  /// Adds a token and hands it on; false when it was the last.
  bool accept(int32_t id, std::span<const float> logits_V);
  /// The work on it begins.
  void begin();
  /// Ended from outside.
  void end(FinishReason reason, std::string error = {}, std::string hint = {});

  int64_t tokens() const { return std::ssize(result_.ids); }
  int64_t left() const { return limit_ - tokens(); }
  GenerateResult& result() { return result_; }
  /// The result with its times.
  GenerateResult take();

 private:
  using Clock = std::chrono::steady_clock;
  bool is_eos(int32_t id) const;

  const ModelConfig& config_;
  GenerateOptions options_;
  OnToken on_token_;
  int64_t limit_;
  StopMatcher matcher_;
  GenerateResult result_;
  Clock::time_point begin_{}, first_{};
};

}  // namespace fathom
