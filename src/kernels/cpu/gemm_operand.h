#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/quantized.h"

/// An input of a product as the kernels see it, and the checks that GemmInput's contract is kept.
namespace fathom::kernels::cpu {

/// Rows of a tensor of scales or zero points; strides count elements.
struct ParameterRows {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t stride = 0, cols = 0;
};

/// One input of a product as it lies in memory: a matrix of `outer` rows (A) or columns (B) by K.
/// Of the formats with an address for each element, (x, k) is data[x·stride + k] when k_contiguous,
/// else data[k·stride + x]; of others (is_packed) stride counts bytes from row to row.
struct GemmOperand {
  const void* data = nullptr;
  StorageFormat format = StorageFormat::kF32;
  int64_t stride = 0;
  bool k_contiguous = true;
  // Of formats with scales apart; see GemmInput.
  ParameterRows scale{}, zero{};
  ScaleTile tile{};
  int64_t first_row = 0;

  /// The scale of element (r, c) of an E4M3 matrix as it lies in memory: row r is x when
  /// k_contiguous, else k.
  const float* scale_at(int64_t r, int64_t c) const {
    return static_cast<const float*>(scale.data) +
           tile_of(first_row + r, tile.rows) * scale.stride + tile_of(c, tile.cols);
  }
  /// Sides of E4M3's tiles are 1 or 128 (check_activation).
  static int64_t tile_of(int64_t i, int64_t side) { return side == 1 ? i : i / 128; }

  /// Where row r of memory begins, and the bytes that its first n elements take.
  const std::byte* row(int64_t r) const {
    const int64_t unit = is_packed(format) ? 1 : info_of(format).block_bytes;
    return static_cast<const std::byte*>(data) + r * stride * unit;
  }
  int64_t bytes(int64_t n) const { return stored_bytes(format, n); }
};

/// F32, BF16 or E4M3 in tiles.
void check_activation(const char* kernel, const char* argument, const GemmInput& x);
/// Any format.
void check_weight(const char* kernel, const char* argument, const GemmInput& x);
void check_extent(const char* kernel, const char* argument, const GemmInput& x, int64_t rows,
                  int64_t cols);
/// After these checks.
GemmOperand operand_of(const GemmInput& x, bool k_contiguous);

}  // namespace fathom::kernels::cpu
