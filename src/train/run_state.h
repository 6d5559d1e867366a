#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "train/config.h"
#include "train/optimizer.h"
#include "train/spike.h"

namespace fathom::train {

/// What a run needs, beside weights and optimizer moments, to go on as if it had never stopped. The
/// data order follows from the step alone.
struct RunState {
  int64_t step = 0;    ///< steps done
  int64_t tokens = 0;  ///< read so far
  double seconds = 0;  ///< of training, over all sessions
  double loss = 0;     ///< of the last step
  std::optional<double> valid_loss;
  SpikeDetector::State spike;
  std::string config_toml;  ///< the effective configuration
};

/// Writes a checkpoint directory that is at once a Hugging Face model (weights in the storage
/// format of the precision) and, under training_state/, all that resuming needs: FP32 master
/// weights, optimizer moments and RunState. Appears whole or not at all.
void save_checkpoint(Context& ctx, const std::filesystem::path& directory, const ModelConfig& model,
                     ModelWeights& weights, const Optimizer& optimizer, const RunState& state,
                     const std::filesystem::path& tokenizer, Precision precision);

/// Restores what save_checkpoint wrote, after verifying every file's checksum.
RunState load_checkpoint(const std::filesystem::path& directory, const ModelConfig& model,
                         ModelWeights& weights, Optimizer& optimizer);

/// Directories step-N under `checkpoints`, by falling N.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& checkpoints);

}  // namespace fathom::train
