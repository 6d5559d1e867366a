#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kernels/quantize.h"
#include "train/append_file.h"
#include "train/tensorboard.h"

namespace fathom::train {

/// What is known of one step. An absent value is null in metrics.jsonl (valid_loss: left out) and
/// has no event.
struct StepMetrics {
  int64_t step = 0;
  int64_t tokens = 0;                       ///< read so far, this step included
  double loss = 0;                          ///< main next-token cross-entropy, nats
  std::optional<double> mtp_loss = {};      ///< mean over depths, unweighted, nats; no MTP: absent
  std::optional<double> balance_loss = {};  ///< weighted by α; no MoE layer: absent
  double lr = 0;
  double grad_norm = 0;  ///< before clipping
  double tokens_per_s = 0;
  double tflops = 0;  ///< TFLOP/s
  double mfu = 0;     ///< share of the peak measured in the same run
  std::optional<double> max_violation =
      {};                                 ///< (max expert load - mean) / mean, mean over MoE layers
  int64_t activation_bytes = 0;           ///< kept for the backward of a micro-batch
  int64_t peak_rss_bytes = 0;             ///< of the process, so far
  std::optional<double> valid_loss = {};  ///< only at evaluations
  /// What rounding to FP8 did in this step, by operand; written at evaluations.
  std::map<std::string, kernels::RoundingStatistics> fp8_stats = {};
  /// Tokens of this step routed to each expert, [mixture layer][expert]; written at evaluations.
  std::vector<std::vector<int64_t>> expert_loads = {};
};

/// One line of metrics.jsonl, with its newline. NaN and infinity become null.
std::string to_json_line(const StepMetrics& metrics);

/// "loss 3.214  valid 3.300  lr 2.2e-04  |g| 0.81  12.3 Ktok/s", for the live progress line.
std::string progress_note(const StepMetrics& metrics);

/// Cuts a file of JSON lines, one a step with its number as "step", back to what a run resumed
/// after last_step continues: later steps and a line that a kill cut short are removed. 0 leaves an
/// empty file, which is also made where there is none.
void cut_back_lines(const std::filesystem::path& path, int64_t last_step);

/// Writes each step to DIR/metrics.jsonl and, each value under the same name, to a TensorBoard
/// event file in DIR/tensorboard. Both are in the file system up to the last step written, whatever
/// happens to the process.
class MetricsWriter {
 public:
  /// last_step: the step a resumed run continues from, as in cut_back_lines.
  MetricsWriter(const std::filesystem::path& directory, int64_t last_step);

  void write(const StepMetrics& metrics);

 private:
  AppendFile lines_;
  TensorBoardWriter events_;
};

}  // namespace fathom::train
