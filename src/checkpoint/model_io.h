#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "checkpoint/gguf_file.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/weight_format.h"
#include "model/weights.h"

namespace fathom {

struct OpenOptions {
  /// Reads what a computation needs and headers do not tell: scales are checked, and what kernels
  /// cannot use in place is widened. Without it only headers are read: enough to inspect a model.
  bool read_values = true;
};

/// A model as downloaded, its weights mapped from the files and used in place:
///   a directory in Hugging Face layout: BF16, F16, F32; E4M3 with 128 x 128 scales as DeepSeek
///     publishes it; compressed-tensors' integers; AWQ (turned in memory, checkpoint/awq.h)
///   a GGUF file of the deepseek2 architecture, or the first of several (checkpoint/gguf_model.h)
/// Opening checks the description of the model and every tensor's presence, shape and dtype, and
/// scales; all problems are listed in one Error. MTP modules are found in the model's own shards or
/// in mtp.safetensors; their copies of embedding and head are not read. A checkpoint without the
/// MTP modules of its config.json has none.
class StoredModel {
 public:
  static StoredModel open(const std::filesystem::path& path, OpenOptions options = {});

  ModelConfig config;
  ModelWeights weights;  ///< views, valid as long as this object
  uint64_t bytes = 0;    ///< of all tensors in the files
  /// eos_token_id of generation_config.json: what ends a text beside those of config.json. A chat
  /// model's end of a turn often stands there alone.
  std::vector<int64_t> generation_eos_ids;

  /// Every mapped file.
  std::vector<const MappedFile*> files() const;

 private:
  static StoredModel open_directory(const std::filesystem::path& directory, OpenOptions options);
  static StoredModel open_gguf(const std::filesystem::path& path, OpenOptions options);

  std::vector<CheckpointReader> readers_;
  std::optional<GgufReader> gguf_;
  std::vector<Tensor> owned_;  ///< what was widened or turned
};

/// Whether a path names a GGUF file, by its ending or by what it begins with.
bool is_gguf(const std::filesystem::path& path);
/// The shape of a stored model: its config.json, or the metadata of a GGUF file.
ModelConfig stored_config(const std::filesystem::path& path);

/// The values of a parameter in whatever format it is stored; `values` is F32 or BF16.
void read_parameter(Context& ctx, const Parameter& p, TensorView values);
/// Copies the stored values into weights that already have memory (training), as F32.
void copy_weights(Context& ctx, const StoredModel& stored, ModelWeights& weights);

inline constexpr uint64_t kDefaultShardBytes = 4'000'000'000;

/// Writes config.json, generation_config.json and the weights (safetensors, sharded) so that
/// transformers loads the directory unchanged and without warnings.
///
/// transformers ignores unexpected tensors of layer 61 alone, where V3 has its MTP module. So a
/// model with 61 layers keeps it in the shards, as published; any other has mtp.safetensors beside
/// them, under the names of layer num_hidden_layers + k.
void save_model(Context& ctx, const std::filesystem::path& directory, const ModelConfig& config,
                ModelWeights& weights, const WeightFormat& format,
                uint64_t max_shard_bytes = kDefaultShardBytes);

/// The same for a randomly initialised model (initialize()), one parameter in memory at a time.
/// Returns the bytes of all tensors; between two parameters a signal throws Interrupted.
uint64_t save_random_model(Context& ctx, const std::filesystem::path& directory,
                           const ModelConfig& config, const WeightFormat& format, uint64_t seed,
                           uint64_t max_shard_bytes = kDefaultShardBytes,
                           const InterruptGuard* interrupt = nullptr);

/// The same for values that values(info, dtype) gives when they are written. It may be asked more
/// than once for a parameter.
using ParameterValues = std::function<Tensor(const ParameterInfo&, DType)>;
/// Sees each quantized matrix once: its F32 values, and what is stored of them.
using EncodedObserver =
    std::function<void(const ParameterInfo&, ConstTensorView values, const Parameter& stored)>;
uint64_t write_model(Context& ctx, const std::filesystem::path& directory,
                     const ModelConfig& config, const WeightFormat& format,
                     uint64_t max_shard_bytes, const ParameterValues& values,
                     const EncodedObserver& observe = {});

/// Copies tokenizer.json or else tiktoken.model, and tokenizer_config.json and chat_template.jinja
/// if they stand beside it. from: a directory that holds them, or the tokenizer file.
void copy_tokenizer(const std::filesystem::path& from, const std::filesystem::path& directory);

}  // namespace fathom
