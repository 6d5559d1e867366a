#pragma once

#include "kernels/cpu/ops_common.h"
#include "kernels/quantize.h"
#include "numerics/e4m3.h"

// Quantized views as the kernels of the operators take them.

namespace fathom::kernels::cpu {

/// Checked: dtypes, one of the three tile shapes, scales for every tile.
inline ScaledCodes scaled_codes_of(const char* kernel, const ConstQuantizedView& q) {
  check_dtype(kernel, "codes", q.codes, {DType::kE4M3});
  check_dtype(kernel, "scale", q.scale, {DType::kF32});
  FATHOM_ASSERT(q.tile == kTile1x128 || q.tile == kTile128x1 || q.tile == kBlock128x128);
  const int64_t last_row = q.first_row + q.rows();
  FATHOM_ASSERT(q.codes.rank == 2 && q.scale.rank == 2 &&
                q.scale.rows() * q.tile.rows >= last_row &&
                q.scale.cols() * q.tile.cols >= q.cols());
  return {static_cast<E4M3*>(const_cast<void*>(q.codes.data)),
          q.codes.stride[0],
          static_cast<float*>(const_cast<void*>(q.scale.data)),
          q.scale.stride[0],
          q.tile.rows,
          q.tile.cols,
          q.first_row};
}

inline Source source_of(const char* kernel, const char* argument, const GemmInput& x) {
  if (!x.scale) return {rows_of(kernel, argument, x.values), {}};
  return {{}, scaled_codes_of(kernel, {x.values, x.scale, x.tile, x.first_row})};
}

/// An output of rows x cols in tiles of 1x128, which may be empty.
inline QuantizedRows quantized_rows_of(const char* kernel, const QuantizedOutput& q, int64_t rows,
                                       int64_t cols) {
  if (!q) return {};
  FATHOM_ASSERT(q.view.tile == kTile1x128);
  check_shape(kernel, "quantized output", q.view.codes, {rows, cols});
  return {scaled_codes_of(kernel, q.view), q.format == ScaleFormat::kPowerOfTwo};
}

/// From (row, col) on; col is a multiple of 128. Nothing stays nothing.
inline ScaledCodes at(ScaledCodes q, int64_t row, int64_t col = 0) {
  if (!q.codes) return q;
  q.codes += row * q.stride + col;
  q.scale += col / q.tile_cols;
  q.first_row += row;
  return q;
}
inline Source at(const Source& x, int64_t row, int64_t col = 0) {
  if (x.codes.codes) return {{}, at(x.codes, row, col)};
  return {at(x.rows, row, col), {}};
}
inline QuantizedRows at(const QuantizedRows& q, int64_t row) {
  return {at(q.codes, row), q.power_of_two};
}
template <class T>
T* at(T* p, int64_t i) {
  return p ? p + i : nullptr;
}

}  // namespace fathom::kernels::cpu
