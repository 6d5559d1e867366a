#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/tensor.h"

namespace fathom {

/// A tensor by name, as a file declares it.
struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  ///< at most four dimensions; empty for a scalar

  uint64_t bytes() const;
  bool operator==(const TensorSpec&) const = default;
};

/// A TensorSpec with its place: bytes [begin, begin + bytes()) of the file.
struct TensorInfo : TensorSpec {
  uint64_t begin = 0;
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  ///< in the order of their data
  std::map<std::string, std::string> metadata;
};

/// The longest header accepted, as in the reference implementation.
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;

/// Reads and checks the header of a file: an 8-byte little-endian length, then JSON that gives each
/// tensor's dtype, shape and data_offsets. Data must fill the rest of the file without holes or
/// overlap. BOOL is read as U8. Throws Error naming `source`, the tensor and the value.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::string& source);

/// Length and JSON of a header whose tensors follow each other in the given order, padded with
/// spaces to a multiple of 8 bytes.
std::string make_safetensors_header(std::span<const TensorSpec> tensors,
                                    const std::map<std::string, std::string>& metadata);

/// The view of a tensor whose data begins at `data`.
ConstTensorView view_of(const TensorSpec& tensor, const void* data);

}  // namespace fathom
