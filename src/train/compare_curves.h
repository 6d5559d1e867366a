#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "train/compare_run.h"

namespace fathom::train {

/// The exponential moving average m_t = β·m_{t−1} + (1 − β)·x_t, m_0 = 0, without the bias of its
/// start: element t (from 1) is m_t / (1 − β^t). β in [0, 1); 0 leaves the values as they are.
std::vector<double> smoothed(std::span<const double> values, double ema);

struct CompareOptions {
  double ema = 0.9;  ///< β of the loss curves, as in the report's figure 10 (appendix B)
  /// Relative errors count after this step; by default after the baseline's warm-up as its
  /// config.toml has it, from the first step where there is none.
  std::optional<int64_t> warmup_steps = {};
};

/// A run's losses beside the baseline's. Relative error: (smoothed − baseline's) / baseline's, at
/// the steps that both have. What the baseline has not for being itself, what the metrics lack and
/// the errors of a run that diverged within the warm-up are absent.
struct ComparedRun {
  /// A run has diverged when a loss is NaN or infinite, or when the last smoothed loss is above so
  /// many times the lowest.
  static constexpr double kDivergence = 1.25;

  std::vector<int64_t> steps;            ///< up to the first loss that is NaN or infinite
  std::vector<double> loss;              ///< smoothed, at these steps
  std::vector<int64_t> violation_steps;  ///< those with a load balance
  std::vector<double> violation;         ///< max_violation (balance.h), smoothed, at these steps
  std::vector<int64_t> error_steps;      ///< common with the baseline, the warm-up included
  std::vector<double> error;             ///< relative, at these steps
  bool diverged = false;

  struct Errors {  ///< after the warm-up
    double largest = 0, last = 0, mean = 0, mean_absolute = 0;
    int64_t largest_step = 0, last_step = 0;
  };
  std::optional<Errors> errors = {};
  std::optional<double> valid_loss = {};   ///< of the last evaluation
  std::optional<double> valid_error = {};  ///< relative, at the last evaluation that both have
  std::optional<double> tokens_per_s = {}, speed_ratio = {};  ///< median over steps; to baseline
  std::optional<double> peak_rss_bytes = {}, activation_bytes = {};  ///< greatest over steps
  /// As the metrics have it, or of the tokens of a micro-batch where config.toml says how many.
  std::optional<double> activation_bytes_per_token = {};
};

/// A key whose value is not the same everywhere; absent where a run's configuration lacks it.
struct ConfigDifference {
  std::string key;
  std::vector<std::optional<std::string>> values;  ///< of each run
};

struct Comparison {
  double ema = 0;
  int64_t warmup_steps = 0;
  std::vector<ComparedRun> runs;  ///< the baseline first
  std::vector<ConfigDifference> differences;
};

/// Compares the second run and those after it with the first. Throws Error where a run has no step
/// in common with the baseline after the warm-up, or had read another number of tokens by then:
/// averages over different numbers of tokens lag differently.
Comparison compare_runs(std::span<const RecordedRun> runs, const CompareOptions& options);

}  // namespace fathom::train
