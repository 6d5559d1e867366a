#include "train/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace fathom::train {

Schedule::Schedule(const TrainConfig& config) : config_(config), ramp_{0} {
  const auto& t = config.train;
  while (ramp_.back() < t.batch_ramp_tokens && static_cast<int64_t>(ramp_.size()) <= t.steps)
    ramp_.push_back(ramp_.back() + batch_tokens(ramp_.back()));
  const auto& s = config.optimizer.schedule;
  const int64_t warm = tokens_before(std::min(s.warmup_steps, t.steps) + 1);
  decay_from_ = std::max(tokens_of(s.constant_until), static_cast<double>(warm));
  check_order();
}

void Schedule::check_order() const {
  const auto& s = config_.optimizer.schedule;
  const auto ordered = [&](const char* a, RunPoint x, const char* b, RunPoint y) {
    if (tokens_of(x) <= tokens_of(y)) return;
    throw Error(
        fmt::format("optimizer.schedule.{} = {} lies after optimizer.schedule.{} = {}", a, x, b, y),
        "up to 1 a point is a share of the run's tokens, above 1 a number of tokens");
  };
  ordered("constant_until", s.constant_until, "cosine_until", s.cosine_until);
  ordered("cosine_until", s.cosine_until, "tail_from", s.tail_from);
  if (s.warmup_steps > config_.train.steps)
    throw Error(fmt::format("optimizer.schedule.warmup_steps = {} exceeds train.steps = {}",
                            s.warmup_steps, config_.train.steps));
}

StepPlan Schedule::at(int64_t step) const {
  FATHOM_ASSERT(step >= 1);
  StepPlan plan;
  plan.step = step;
  plan.tokens_before = tokens_before(step);
  plan.tokens_after = tokens_before(step + 1);
  plan.first_sample = plan.tokens_before / config_.data.seq_len;
  plan.sequences = (plan.tokens_after - plan.tokens_before) / config_.data.seq_len;
  plan.lr = learning_rate(step, plan.tokens_before);
  plan.mtp_lambda = mtp_lambda(plan.tokens_before);
  plan.bias_update_speed = bias_update_speed(plan.tokens_before);
  return plan;
}

double Schedule::learning_rate(int64_t step, int64_t tokens) const {
  const auto& s = config_.optimizer.schedule;
  const double peak = config_.optimizer.lr, t = static_cast<double>(tokens);
  if (step < s.warmup_steps)
    return peak * static_cast<double>(step) / static_cast<double>(s.warmup_steps);
  if (t >= tokens_of(s.tail_from)) return peak * s.tail_ratio;
  if (t >= tokens_of(s.cosine_until)) return peak * s.cosine_ratio;
  if (t <= decay_from_) return peak;
  const double done = (t - decay_from_) / (tokens_of(s.cosine_until) - decay_from_);
  const double fall = 0.5 * (1 + std::cos(std::numbers::pi * done));
  return peak * (s.cosine_ratio + (1 - s.cosine_ratio) * fall);
}

double Schedule::mtp_lambda(int64_t tokens) const {
  const auto& m = config_.mtp;
  return static_cast<double>(tokens) < tokens_of(m.lambda_switch) ? m.lambda : m.lambda_final;
}

double Schedule::bias_update_speed(int64_t tokens) const {
  const auto& m = config_.moe;
  return static_cast<double>(tokens) < tokens_of(m.bias_update_until) ? m.bias_update_speed : 0;
}

int64_t Schedule::batch_tokens(int64_t tokens) const {
  const auto& t = config_.train;
  if (tokens >= t.batch_ramp_tokens) return t.batch_tokens;
  const double done = static_cast<double>(tokens) / static_cast<double>(t.batch_ramp_tokens);
  const double batch = static_cast<double>(t.batch_tokens_start) +
                       static_cast<double>(t.batch_tokens - t.batch_tokens_start) * done;
  const int64_t unit = config_.data.seq_len * t.micro_batch;
  return static_cast<int64_t>(batch) / unit * unit;
}

int64_t Schedule::tokens_before(int64_t step) const {
  const int64_t ramped = static_cast<int64_t>(ramp_.size());
  if (step <= ramped) return ramp_[static_cast<size_t>(step - 1)];
  return ramp_.back() + (step - ramped) * config_.train.batch_tokens;
}

double Schedule::tokens_of(RunPoint point) const {
  return point <= 1 ? point * static_cast<double>(total_tokens()) : point;
}

}  // namespace fathom::train
