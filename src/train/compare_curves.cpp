#include "train/compare_curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "base/error.h"

namespace fathom::train {
namespace {

using Member = std::optional<double> RecordedStep::*;

std::optional<double> greatest(const RecordedRun& run, Member member) {
  std::optional<double> out;
  for (const RecordedStep& s : run.steps)
    if (s.*member) out = std::max(out.value_or(*(s.*member)), *(s.*member));
  return out;
}

std::optional<double> median(const RecordedRun& run, Member member) {
  std::vector<double> values;
  for (const RecordedStep& s : run.steps)
    if (s.*member) values.push_back(*(s.*member));
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

bool has_risen(const std::vector<double>& loss) {
  const double lowest = *std::min_element(loss.begin(), loss.end());
  return loss.back() > ComparedRun::kDivergence * lowest;
}

/// Smoothed losses up to where they end or stop being numbers.
ComparedRun curve_of(const RecordedRun& run, double ema) {
  ComparedRun out;
  std::vector<double> losses;
  for (const RecordedStep& s : run.steps) {
    if (!s.loss) break;
    out.steps.push_back(s.step);
    losses.push_back(*s.loss);
  }
  out.loss = smoothed(losses, ema);
  out.diverged = losses.size() < run.steps.size() || has_risen(out.loss);
  return out;
}

void check_tokens(const RecordedRun& base, size_t i, const RecordedRun& run, size_t j) {
  const RecordedStep &a = base.steps[i], &b = run.steps[j];
  if (a.tokens == b.tokens) return;
  throw Error(fmt::format("at step {} {} had read {} tokens and {} had read {}", a.step, base.name,
                          a.tokens, run.name, b.tokens),
              "only runs of the same batch_tokens can be compared step by step");
}

/// Fills in the errors at the steps that both curves have.
void compare_losses(const RecordedRun& base_run, const ComparedRun& base, const RecordedRun& run,
                    ComparedRun& out) {
  for (size_t i = 0, j = 0; i < base.steps.size() && j < out.steps.size();) {
    if (base.steps[i] < out.steps[j]) {
      ++i;
    } else if (base.steps[i] > out.steps[j]) {
      ++j;
    } else {
      check_tokens(base_run, i, run, j);
      out.error_steps.push_back(out.steps[j]);
      out.error.push_back((out.loss[j] - base.loss[i]) / base.loss[i]);
      ++i, ++j;
    }
  }
}

/// Absent where no compared step is after the warm-up.
std::optional<ComparedRun::Errors> errors_after(const ComparedRun& run, int64_t warmup) {
  if (run.error_steps.empty() || run.error_steps.back() <= warmup) return {};
  ComparedRun::Errors out{.last = run.error.back(), .last_step = run.error_steps.back()};
  double sum = 0, absolute = 0;
  int64_t count = 0;
  for (size_t i = 0; i < run.error.size(); ++i) {
    const double e = run.error[i];
    if (run.error_steps[i] <= warmup) continue;
    sum += e;
    absolute += std::abs(e);
    ++count;
    if (count > 1 && std::abs(e) <= std::abs(out.largest)) continue;
    out.largest = e;
    out.largest_step = run.error_steps[i];
  }
  out.mean = sum / static_cast<double>(count);
  out.mean_absolute = absolute / static_cast<double>(count);
  return out;
}

std::optional<double> last_valid_loss(const RecordedRun& run) {
  for (auto s = run.steps.rbegin(); s != run.steps.rend(); ++s)
    if (s->valid_loss) return s->valid_loss;
  return {};
}

/// Relative error of the held-out loss at the last step where both have one.
std::optional<double> valid_error(const RecordedRun& base, const RecordedRun& run) {
  std::optional<double> out;
  auto b = base.steps.begin();
  for (const RecordedStep& s : run.steps) {
    while (b != base.steps.end() && b->step < s.step) ++b;
    if (b == base.steps.end()) break;
    if (b->step == s.step && b->valid_loss && s.valid_loss)
      out = (*s.valid_loss - *b->valid_loss) / *b->valid_loss;
  }
  return out;
}

std::vector<ConfigDifference> differences_of(std::span<const RecordedRun> runs) {
  std::set<std::string> keys;
  for (const RecordedRun& r : runs) {
    if (!r.config) return {};  // nothing is known of that run
    for (const auto& [key, value] : *r.config) keys.insert(key);
  }
  std::vector<ConfigDifference> out;
  for (const std::string& key : keys) {
    ConfigDifference d{key, {}};
    for (const RecordedRun& r : runs) {
      const auto it = r.config->find(key);
      d.values.push_back(it == r.config->end() ? std::nullopt : std::optional(it->second));
    }
    if (std::adjacent_find(d.values.begin(), d.values.end(), std::not_equal_to{}) != d.values.end())
      out.push_back(std::move(d));
  }
  return out;
}

std::optional<double> micro_batch_tokens(const RecordedRun& run) {
  const auto sequences = run.configured("train.micro_batch");
  const auto seq_len = run.configured("data.seq_len");
  if (!sequences || !seq_len || *sequences < 1 || *seq_len < 1) return {};
  return static_cast<double>(*sequences * *seq_len);
}

void add_violations(const RecordedRun& run, double ema, ComparedRun& out) {
  for (const RecordedStep& s : run.steps) {
    if (!s.max_violation) continue;
    out.violation_steps.push_back(s.step);
    out.violation.push_back(*s.max_violation);
  }
  out.violation = smoothed(out.violation, ema);
}

ComparedRun measured(const RecordedRun& run, double ema) {
  ComparedRun out = curve_of(run, ema);
  add_violations(run, ema, out);
  out.valid_loss = last_valid_loss(run);
  out.tokens_per_s = median(run, &RecordedStep::tokens_per_s);
  out.peak_rss_bytes = greatest(run, &RecordedStep::peak_rss_bytes);
  out.activation_bytes = greatest(run, &RecordedStep::activation_bytes);
  out.activation_bytes_per_token = greatest(run, &RecordedStep::activation_bytes_per_token);
  if (const auto tokens = micro_batch_tokens(run);
      tokens && out.activation_bytes && !out.activation_bytes_per_token)
    out.activation_bytes_per_token = *out.activation_bytes / *tokens;
  return out;
}

}  // namespace

std::vector<double> smoothed(std::span<const double> values, double ema) {
  std::vector<double> out;
  out.reserve(values.size());
  double average = 0, weight = 0;  // the weights given so far sum to 1 − β^t
  for (const double x : values) {
    average = ema * average + (1 - ema) * x;
    weight = ema * weight + (1 - ema);
    out.push_back(average / weight);
  }
  return out;
}

Comparison compare_runs(std::span<const RecordedRun> runs, const CompareOptions& options) {
  FATHOM_ASSERT(runs.size() >= 2 && options.ema >= 0 && options.ema < 1);
  const RecordedRun& base = runs.front();
  const std::optional<int64_t> configured = base.configured("optimizer.schedule.warmup_steps");
  Comparison out;
  out.ema = options.ema;
  out.warmup_steps = options.warmup_steps.value_or(configured.value_or(0));
  out.differences = differences_of(runs);
  for (const RecordedRun& run : runs) {
    out.runs.push_back(measured(run, options.ema));
    if (&run == &base) continue;
    ComparedRun& r = out.runs.back();
    const ComparedRun& b = out.runs.front();
    compare_losses(base, b, run, r);
    r.errors = errors_after(r, out.warmup_steps);
    if (!r.errors && !r.diverged && !b.diverged)
      throw Error(fmt::format("{} and {} have no step in common after step {}", base.name, run.name,
                              out.warmup_steps),
                  "wait for the runs to get there, or give a shorter --warmup");
    r.valid_error = valid_error(base, run);
    if (r.tokens_per_s && b.tokens_per_s) r.speed_ratio = *r.tokens_per_s / *b.tokens_per_s;
  }
  return out;
}

}  // namespace fathom::train
