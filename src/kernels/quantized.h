#pragma once

#include "base/tensor.h"

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

/// An input of a matrix product as it is stored: F32 or BF16, or E4M3 with scales.
struct GemmInput {
  ConstTensorView values;
  ConstTensorView scale;  ///< empty unless values are E4M3
  ScaleTile tile;
  int64_t first_row = 0;  ///< see BasicQuantizedView

  GemmInput() = default;
  GemmInput(const ConstTensorView& v) : values(v) {}  // NOLINT: implicit
  GemmInput(const TensorView& v) : values(v) {}       // NOLINT
  GemmInput(const Tensor& v) : values(v) {}           // NOLINT
  GemmInput(const ConstQuantizedView& q)              // NOLINT
      : values(q.codes), scale(q.scale), tile(q.tile), first_row(q.first_row) {}
  GemmInput(const QuantizedView& q) : GemmInput(ConstQuantizedView(q)) {}  // NOLINT

  int64_t rows() const { return values.rows(); }
  int64_t cols() const { return values.cols(); }
  GemmInput row_range(int64_t begin, int64_t count) const {
    GemmInput part = *this;
    part.values = values.row_range(begin, count);
    part.first_row = first_row + begin;
    return part;
  }
};

}  // namespace fathom::kernels
