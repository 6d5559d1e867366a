#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "checkpoint/safetensors_header.h"

namespace fathom {

/// One safetensors file, mapped into memory: opening reads the header only. Reading views from
/// several threads is safe. Views live as long as the file object (moving it keeps them).
class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::filesystem::path& path);

  /// In the order of their data.
  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  const std::filesystem::path& path() const { return file_.path(); }
  const MappedFile& mapping() const { return file_; }
  const TensorInfo* find(std::string_view name) const;
  /// The tensor's data in the mapped file; Error when there is no such tensor. The format does not
  /// align data: a tensor that begins at an address its dtype cannot have is copied on first use.
  ConstTensorView view(std::string_view name) const;
  /// Starts reading a tensor, or its first `at_most` bytes, from disk without waiting for them.
  void will_need(std::string_view name, uint64_t at_most = UINT64_MAX) const;

 private:
  struct Aligned {
    std::mutex mutex;
    std::unordered_map<const TensorInfo*, Tensor> copies;
  };
  const void* aligned_copy(const TensorInfo& tensor) const;

  MappedFile file_;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, const TensorInfo*> by_name_;  // into header_.tensors
  std::unique_ptr<Aligned> aligned_ = std::make_unique<Aligned>();
};

/// The tensors of a checkpoint: a directory with model.safetensors.index.json and the shards it
/// names, a directory of *.safetensors files without one, or a single file. Index and shards are
/// checked against each other; no tensor may occur twice.
class CheckpointReader {
 public:
  static CheckpointReader open(const std::filesystem::path& path);

  bool contains(std::string_view name) const { return find(name) != nullptr; }
  const TensorInfo* find(std::string_view name) const;
  /// Error naming the checkpoint when there is no such tensor.
  ConstTensorView get(std::string_view name) const;
  /// SafetensorsFile::will_need.
  void will_need(std::string_view name, uint64_t at_most = UINT64_MAX) const;
  /// In the order of files and of their data.
  const std::vector<std::string>& names() const { return names_; }
  const std::vector<SafetensorsFile>& files() const { return files_; }
  uint64_t bytes() const;  ///< of all tensors' data
  const std::filesystem::path& path() const { return path_; }

 private:
  void add(const std::filesystem::path& file);
  void check_index(const std::map<std::string, std::string>& weight_map) const;

  std::filesystem::path path_;
  std::vector<SafetensorsFile> files_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, size_t> file_of_;
};

/// The weight_map of a model.safetensors.index.json: tensor name to file name. Throws Error when it
/// is not one, or names a file outside its directory.
std::map<std::string, std::string> parse_safetensors_index(std::string_view text,
                                                           const std::string& source);

}  // namespace fathom
