#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fathom::train {

/// What `fathom compare` reads of one line of metrics.jsonl. A field that the line lacks, or that
/// is null, is absent; a loss is null where it was NaN or infinite.
struct RecordedStep {
  int64_t step = 0, tokens = 0;
  std::optional<double> loss = {}, valid_loss = {}, tokens_per_s = {};
  std::optional<double> max_violation = {};  ///< of models with experts
  std::optional<double> peak_rss_bytes = {}, activation_bytes = {}, activation_bytes_per_token = {};
};

/// What rounding one tensor to FP8 met: its greatest magnitude, the share of its values other than
/// zero that became zero, and the share of all that got the largest code.
struct QuantizationStatistics {
  std::string tensor;
  double amax = 0, underflow = 0, saturation = 0;
};

/// A run's directory as it lies on disk: finished, stopped or still being written.
struct RecordedRun {
  std::string name;                   ///< the directory as given
  std::vector<RecordedStep> steps;    ///< at least one, in increasing order
  bool last_line_unfinished = false;  ///< it is being written, or a kill cut it short; left out
  /// config.toml as dotted keys and their values in TOML; absent where there is no such file.
  std::optional<std::map<std::string, std::string>> config = {};
  std::vector<QuantizationStatistics> fp8_stats = {};  ///< the last recorded, by tensor

  /// A whole number of the configuration.
  std::optional<int64_t> configured(const std::string& key) const;
};

/// Throws Error, naming file and line, where there is no metrics.jsonl or a finished line cannot be
/// understood.
RecordedRun read_run(const std::filesystem::path& directory);

}  // namespace fathom::train
