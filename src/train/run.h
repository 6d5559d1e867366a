#pragma once

#include <filesystem>

#include "base/context.h"
#include "train/config.h"
#include "train/metrics.h"

namespace fathom::train {

struct RunResult {
  StepMetrics last;  ///< of the last step; the rates are averages since the start or resume
  std::optional<double> valid_loss;
  double seconds = 0;           ///< training time over all sessions of the run
  bool finished = false;        ///< false: stopped by a signal, to be resumed
  std::filesystem::path model;  ///< final/, or the checkpoint to resume from
};

/// `fathom train`: trains as config says and keeps everything under `directory`:
///   config.toml (effective), metrics.jsonl, tensorboard/, batches.jsonl (on request), cache/,
///   checkpoints/step-N/, final/, and final-ema/ (the averaged weights) with optimizer.ema_decay >
///   0
/// resume continues from the newest checkpoint whose checksums hold, with the same bits as a run
/// that was never stopped; without it a directory that already holds a run is an error. SIGINT and
/// SIGTERM end the current step, write a checkpoint and return. NaN or a loss spike throws Error;
/// the last good checkpoint stays.
RunResult run_training(Context& ctx, const TrainConfig& config,
                       const std::filesystem::path& directory, bool resume);

}  // namespace fathom::train
