#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "model/weights.h"

namespace fathom {

/// A model in Hugging Face layout, its weights mapped from the files and used in place. Opening
/// checks config.json and every tensor's presence, shape and dtype; all problems are listed in one
/// Error. MTP modules are found in the model's own shards or in mtp.safetensors; their copies of
/// embedding and head are not read.
class StoredModel {
 public:
  static StoredModel open(const std::filesystem::path& directory);

  ModelConfig config;
  ModelWeights weights;  ///< views, valid as long as this object
  uint64_t bytes = 0;    ///< of all tensors in the files

 private:
  std::vector<CheckpointReader> readers_;
};

/// Copies the stored values into weights that already have memory (training), as F32.
void copy_weights(Context& ctx, const StoredModel& stored, ModelWeights& weights);

/// Writes config.json, generation_config.json and the weights (safetensors, sharded) so that
/// transformers loads the directory unchanged and without warnings. dtype: kBF16 or kF32 for norms
/// and matrices; correction biases stay F32.
///
/// transformers ignores unexpected tensors of layer 61 alone, where V3 has its MTP module. So a
/// model with 61 layers keeps it in the shards, as published; any other has mtp.safetensors beside
/// them, under the names of layer num_hidden_layers + k.
void save_model(Context& ctx, const std::filesystem::path& directory, const ModelConfig& config,
                ModelWeights& weights, DType dtype,
                uint64_t max_shard_bytes = uint64_t{4'000'000'000});

/// The same for a randomly initialised model (initialize()), one tensor in memory at a time.
/// Returns the bytes of all tensors.
uint64_t save_random_model(const std::filesystem::path& directory, const ModelConfig& config,
                           DType dtype, uint64_t seed, uint64_t max_shard_bytes);

/// Copies tokenizer.json, and tokenizer_config.json and chat_template.jinja if they stand beside
/// it. from: a directory that holds them, or the tokenizer.json.
void copy_tokenizer(const std::filesystem::path& from, const std::filesystem::path& directory);

}  // namespace fathom
