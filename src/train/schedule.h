#pragma once

#include <cstdint>
#include <vector>

#include "train/config.h"

namespace fathom::train {

/// Everything of one step that the schedules decide.
struct StepPlan {
  int64_t step = 0;           ///< from 1
  int64_t first_sample = 0;   ///< sequences read before this step
  int64_t sequences = 0;      ///< read by this step, a multiple of micro_batch
  int64_t tokens_before = 0;  ///< tokens read before this step
  int64_t tokens_after = 0;
  double lr = 0;
  double mtp_lambda = 0;         ///< λ of the MTP loss
  double bias_update_speed = 0;  ///< γ of the gating bias
};

/// The paper's schedules (TR §4.2) as pure functions of the step, so a resumed run needs nothing
/// but its step number. The learning rate warms up by steps; all else follows the tokens read
/// before the step.
class Schedule {
 public:
  /// Throws Error when the points of the learning-rate schedule are out of order.
  explicit Schedule(const TrainConfig& config);

  StepPlan at(int64_t step) const;
  int64_t steps() const { return config_.train.steps; }
  int64_t total_tokens() const { return tokens_before(steps() + 1); }

  /// The pieces, for reports and tests.
  double learning_rate(int64_t step, int64_t tokens) const;
  double mtp_lambda(int64_t tokens) const;
  double bias_update_speed(int64_t tokens) const;
  /// Tokens of a step that starts after `tokens`: linear from batch_tokens_start to batch_tokens,
  /// rounded down to whole micro-batches.
  int64_t batch_tokens(int64_t tokens) const;

 private:
  int64_t tokens_before(int64_t step) const;
  double tokens_of(RunPoint point) const;
  void check_order() const;

  TrainConfig config_;
  std::vector<int64_t> ramp_;  ///< tokens before step i+1, up to the first full-sized step
  double decay_from_ = 0;      ///< tokens: the end of the constant part, not before warm-up's
};

}  // namespace fathom::train
