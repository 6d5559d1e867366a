#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/file.h"
#include "kernels/quantized.h"

namespace fathom {

/// A metadata value. Of an array, where it lies: vocabularies are long and seldom wanted.
struct GgufArray {
  uint64_t count = 0;
  uint32_t type = 0;   ///< of the elements, as the format numbers them
  uint64_t begin = 0;  ///< of the first element, in the file
};
using GgufValue = std::variant<int64_t, double, bool, std::string, GgufArray>;

struct GgufTensor {
  std::string name;
  StorageFormat format = StorageFormat::kF32;
  std::vector<int64_t> shape;  ///< row-major: the innermost dimension last, one to four
  uint64_t begin = 0;          ///< in the file
  uint64_t bytes() const;
};

struct GgufHeader {
  std::map<std::string, GgufValue> metadata;
  std::vector<GgufTensor> tensors;  ///< in the order of their data
};

/// Reads and checks the header of a GGUF file, version 2 or 3, little-endian: every length lies
/// inside the file, tensors follow each other aligned, their types are known. Throws Error naming
/// `source`, the key or tensor, and the value.
GgufHeader parse_gguf_header(std::span<const std::byte> file, const std::string& source);

/// The elements of an array that parse_gguf_header() has passed over: texts, and whole numbers of
/// 32 bits. Throw Error when it is of another type.
std::vector<std::string> gguf_texts(std::span<const std::byte> file, const GgufArray& array,
                                    const std::string& source);
std::vector<int32_t> gguf_numbers(std::span<const std::byte> file, const GgufArray& array,
                                  const std::string& source);

/// The tensors of a GGUF model, mapped: one file, or all of FILE-00001-of-0000N.gguf when one of
/// them is given. Metadata are the first file's.
class GgufReader {
 public:
  static GgufReader open(const std::filesystem::path& path);

  const std::map<std::string, GgufValue>& metadata() const { return metadata_; }
  /// The bytes of the file that the metadata, and their arrays, lie in.
  std::span<const std::byte> metadata_file() const {
    return {files_.front().data(), files_.front().size()};
  }
  /// Null when there is no such tensor.
  const GgufTensor* find(const std::string& name) const;
  /// The tensor as a matrix: all dimensions but the last are rows.
  kernels::GemmInput matrix(const GgufTensor& tensor) const;
  /// All names, in the order of files and of their data.
  std::vector<std::string> names() const;
  uint64_t bytes() const;
  const std::vector<MappedFile>& files() const { return files_; }

 private:
  void add(const std::filesystem::path& path);

  std::map<std::string, GgufValue> metadata_;
  std::vector<MappedFile> files_;
  std::vector<std::vector<GgufTensor>> tensors_;                         ///< by file
  std::unordered_map<std::string, std::pair<size_t, size_t>> place_of_;  ///< file, tensor
};

}  // namespace fathom
