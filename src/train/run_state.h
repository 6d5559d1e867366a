#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

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

/// What a run's weights are stored as: F32 when it computes in FP32, else BF16.
DType storage_dtype(Precision precision);

/// Writes a checkpoint directory that is at once a Hugging Face model (weights in the storage
/// format of the precision) and, under training_state/, all that resuming needs: FP32 master
/// weights, optimizer moments and RunState. Appears whole or not at all.
void save_checkpoint(Context& ctx, const std::filesystem::path& directory, const ModelConfig& model,
                     ModelWeights& weights, const Optimizer& optimizer, const RunState& state,
                     const std::filesystem::path& tokenizer, Precision precision);

/// Restores what save_checkpoint wrote to a directory that is whole (newest_whole).
RunState load_checkpoint(const std::filesystem::path& directory, const ModelConfig& model,
                         ModelWeights& weights, Optimizer& optimizer);

/// Directories step-N under `checkpoints`, by falling N.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& checkpoints);

/// Removes what killed processes left half written or half removed under `checkpoints`.
void clean_checkpoints(const std::filesystem::path& checkpoints);

/// The first of `newest_first` whose files all have their checksums; those before it are named in
/// warnings. Error when there are some but none is whole.
std::optional<std::filesystem::path> newest_whole(
    const std::vector<std::filesystem::path>& newest_first);

}  // namespace fathom::train
