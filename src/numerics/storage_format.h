#pragma once

#include <cstdint>

namespace fathom {

/// How the numbers of a matrix are stored along its rows. What each means is defined beside its
/// encoder: numerics/e4m3.h, group_int.h, gguf_blocks.h.
enum class StorageFormat : uint8_t {
  kF32,
  kBF16,
  kF16,
  kE4M3,   ///< codes; scales of tiles apart
  kInt4,   ///< eight codes a 32-bit word, offset by 8; scales of groups apart
  kInt8,   ///< two's complement; scales of groups apart
  kUint8,  ///< offset by 128; scales of groups apart
  kQ8_0,   ///< the rest are blocks of a GGUF file, with their scales
  kQ4_0,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};
inline constexpr int kStorageFormats = static_cast<int>(StorageFormat::kQ6_K) + 1;

/// Elements of a row come in blocks of so many, stored in so many bytes.
struct FormatInfo {
  const char* name;
  int64_t block, block_bytes;
};

constexpr FormatInfo info_of(StorageFormat format) {
  constexpr FormatInfo kInfo[kStorageFormats] = {
      {"F32", 1, 4},    {"BF16", 1, 2},     {"F16", 1, 2},      {"E4M3", 1, 1},
      {"INT4", 8, 4},   {"INT8", 1, 1},     {"UINT8", 1, 1},    {"Q8_0", 32, 34},
      {"Q4_0", 32, 18}, {"Q4_K", 256, 144}, {"Q5_K", 256, 176}, {"Q6_K", 256, 210}};
  return kInfo[static_cast<int>(format)];
}

/// Bytes of `count` elements of a row: whole blocks.
constexpr int64_t stored_bytes(StorageFormat format, int64_t count) {
  const FormatInfo info = info_of(format);
  return (count + info.block - 1) / info.block * info.block_bytes;
}

/// Whether scales (and zero points) of groups along rows come in tensors of their own.
constexpr bool is_grouped_int(StorageFormat format) {
  return format >= StorageFormat::kInt4 && format <= StorageFormat::kUint8;
}
/// Whether an element has no address of its own, or needs more than its tile's scale.
constexpr bool is_packed(StorageFormat format) {
  return format >= StorageFormat::kInt4;
}
constexpr bool is_gguf_block(StorageFormat format) {
  return format >= StorageFormat::kQ8_0;
}

}  // namespace fathom
