#pragma once

#include "kernels/cpu/ops_common.h"
#include "kernels/quantized.h"
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

/// From (row, col) on; col is a multiple of 128.
inline ScaledCodes at(ScaledCodes q, int64_t row, int64_t col = 0) {
  q.codes += row * q.stride + col;
  q.scale += col / q.tile_cols;
  q.first_row += row;
  return q;
}
inline Source at(const Source& x, int64_t row, int64_t col = 0) {
  if (x.codes.codes) return {{}, at(x.codes, row, col)};
  return {at(x.rows, row, col), {}};
}

}  // namespace fathom::kernels::cpu
