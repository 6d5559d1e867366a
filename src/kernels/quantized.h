#pragma once

#include "base/tensor.h"
#include "numerics/storage_format.h"

namespace fathom::kernels {

/// How many rows and columns of a matrix share one scale (spec C): 1x128 for activations, 128x1 for
/// activations that are contracted over tokens (weight gradients), 128x128 for weights.
struct ScaleTile {
  int64_t rows = 1, cols = 128;
  bool operator==(const ScaleTile&) const = default;
};
inline constexpr ScaleTile kTile1x128{1, 128};
inline constexpr ScaleTile kTile128x1{128, 1};
inline constexpr ScaleTile kBlock128x128{128, 128};

/// An E4M3 matrix with its scales: value (r, c) is code(r, c) ·
/// scale((first_row + r) / tile.rows, c / tile.cols), as in a checkpoint's weight_scale_inv.
///   codes E4M3 [R, C], any row stride
///   scale F32 [⌈(first_row + R) / tile.rows⌉, ⌈C / tile.cols⌉], any row stride
template <bool kConst>
struct BasicQuantizedView {
  BasicTensorView<kConst> codes, scale;
  ScaleTile tile;
  int64_t first_row = 0;  ///< of `codes` in the matrix that `scale` belongs to

  BasicQuantizedView() = default;
  BasicQuantizedView(BasicTensorView<kConst> codes_in, BasicTensorView<kConst> scale_in,
                     ScaleTile tile_in, int64_t first_row_in = 0)
      : codes(codes_in), scale(scale_in), tile(tile_in), first_row(first_row_in) {}
  /// A mutable view is usable wherever a const one is asked for.
  template <bool C = kConst, class = std::enable_if_t<C>>
  BasicQuantizedView(const BasicQuantizedView<false>& v)  // NOLINT: implicit on purpose
      : codes(v.codes), scale(v.scale), tile(v.tile), first_row(v.first_row) {}

  int64_t rows() const { return codes.rows(); }
  int64_t cols() const { return codes.cols(); }
  /// Rows [begin, begin + count), sharing memory; begin need not be a multiple of tile.rows.
  BasicQuantizedView row_range(int64_t begin, int64_t count) const {
    return {codes.row_range(begin, count), scale, tile, first_row + begin};
  }
};
using QuantizedView = BasicQuantizedView<false>;
using ConstQuantizedView = BasicQuantizedView<true>;

/// An input of a matrix product as it is stored. What the views hold depends on `format`:
///   kF32, kBF16, kF16: values [R, C]
///   kE4M3: values [R, C], and scales as BasicQuantizedView has them
///   kInt4: values I32 [R, >= ⌈C / 8⌉], eight codes a word (numerics/group_int.h)
///   kInt8: values I8 [R, C]
///   kUint8: values U8 [R, C], codes offset by 128 (the bytes of packed 32-bit words)
///   kQ8_0 … kQ6_K: values U8 [R, C / block · block_bytes], rows as they lie in a GGUF file
/// Integers have scale F32, BF16 or F16 [>= first_row + R, ⌈C / tile.cols⌉], tile {1, elements of a
/// row under one scale}: a multiple of 32, or at least C for whole rows. Their zero points, if any,
/// have as many columns; rows are packed into I32 as compressed-tensors packs them,
/// [⌈(first_row + R) · bits / 32⌉, …], or are I8 [first_row + R, …] (kInt8 only).
/// An activation is F32, BF16 or E4M3; the rest are weights.
struct GemmInput {
  ConstTensorView values;
  ConstTensorView scale;
  ConstTensorView zero;  ///< empty: symmetric
  ScaleTile tile;
  int64_t first_row = 0;  ///< of values in the matrix that scale and zero belong to
  StorageFormat format = StorageFormat::kF32;
  int64_t columns = 0;  ///< C

  GemmInput() = default;
  GemmInput(const ConstTensorView& v)  // NOLINT: implicit
      : values(v), format(plain_format(v.dtype)), columns(v.rank > 0 ? v.cols() : 0) {}
  GemmInput(const TensorView& v) : GemmInput(ConstTensorView(v)) {}  // NOLINT
  GemmInput(const Tensor& v) : GemmInput(ConstTensorView(v)) {}      // NOLINT
  GemmInput(const ConstQuantizedView& q) : GemmInput(q.codes) {      // NOLINT
    scale = q.scale;
    tile = q.tile;
    first_row = q.first_row;
  }
  GemmInput(const QuantizedView& q) : GemmInput(ConstQuantizedView(q)) {}  // NOLINT

  /// Integers with scales of groups; group 0 stands for whole rows.
  static GemmInput grouped_int(StorageFormat format, const ConstTensorView& codes, int64_t columns,
                               const ConstTensorView& scale, int64_t group,
                               const ConstTensorView& zero = {}) {
    FATHOM_ASSERT(is_grouped_int(format));
    GemmInput x = stored(format, codes, columns);
    x.scale = scale;
    x.zero = zero;
    x.tile = {1, group > 0 ? group : columns};
    return x;
  }
  /// Rows of GGUF blocks.
  static GemmInput gguf(StorageFormat format, const ConstTensorView& bytes, int64_t columns) {
    FATHOM_ASSERT(is_gguf_block(format));
    return stored(format, bytes, columns);
  }

  int64_t rows() const { return values.rows(); }
  int64_t cols() const { return columns; }
  /// Bytes of the matrix with its scales and zero points, whatever lies between its rows.
  int64_t bytes() const;
  /// Rows [begin, begin + count), sharing memory: any begin, in every format.
  GemmInput row_range(int64_t begin, int64_t count) const {
    GemmInput part = *this;
    part.values = values.row_range(begin, count);
    part.first_row = first_row + begin;
    return part;
  }

  /// The format of a dtype whose values need nothing else (E4M3: but scales).
  static StorageFormat plain_format(DType dtype);

 private:
  static GemmInput stored(StorageFormat format, const ConstTensorView& values, int64_t columns) {
    GemmInput x;
    x.values = values;
    x.format = format;
    x.columns = columns;
    return x;
  }
};

}  // namespace fathom::kernels
