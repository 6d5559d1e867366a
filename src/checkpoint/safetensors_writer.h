#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "checkpoint/safetensors_header.h"

namespace fathom {

/// Writes a checkpoint in Hugging Face's layout, one tensor at a time, never holding more: a single
/// model.safetensors, or model-0000k-of-0000n.safetensors of about max_shard_bytes each with
/// model.safetensors.index.json, written last.
///
///   ShardedWriter writer(directory, specs);
///   for (const TensorSpec& tensor : writer.order()) writer.write(data_of(tensor.name));
///   writer.finish();
///
/// Tensors that stand apart go to a file of their own beside the shards, which the index does not
/// list. The directory exists and holds no checkpoint. Each file appears complete or not at all;
/// without finish() the destructor removes what was written.
class ShardedWriter {
 public:
  static constexpr uint64_t kDefaultShardBytes = 5'000'000'000;

  struct Apart {
    std::string file_name;
    std::vector<TensorSpec> tensors;  ///< none: no file
  };

  ShardedWriter(const std::filesystem::path& directory, std::vector<TensorSpec> tensors,
                uint64_t max_shard_bytes = kDefaultShardBytes, const Apart& apart = {});
  ~ShardedWriter();
  ShardedWriter(const ShardedWriter&) = delete;
  ShardedWriter& operator=(const ShardedWriter&) = delete;

  /// The tensors in the order in which write() wants them, such that all data are aligned for
  /// readers that map the file: as declared, but within a shard those whose size is not a multiple
  /// of eight bytes come last, wide dtypes first. Those that stand apart follow the shards.
  const std::vector<TensorSpec>& order() const { return order_; }
  /// The whole of the next tensor, contiguous, of its declared dtype and shape.
  void write(ConstTensorView data);
  /// The next bytes of the next tensor, which may come in parts.
  void write_bytes(const void* data, size_t bytes);
  void finish();

 private:
  struct Shard {
    std::filesystem::path path;
    size_t begin = 0, end = 0;  ///< of order_
    bool in_index = true;
  };
  void plan(uint64_t max_shard_bytes);
  void name_shards();
  void add_apart(const Apart& apart);
  void start_shard();
  void end_tensor();
  void write_index();

  std::filesystem::path directory_;
  std::vector<TensorSpec> order_;
  std::vector<Shard> shards_;
  size_t shard_ = 0, tensor_ = 0;  ///< being written
  uint64_t tensor_written_ = 0;
  std::optional<AtomicFile> file_;
  bool finished_ = false;
};

struct NamedTensor {
  std::string name;
  ConstTensorView data;
};

/// One file, atomically. Data are laid out in the order of ShardedWriter.
void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace fathom
