#include "kernels/ref/quantize.h"

#include <cmath>

#include "numerics/e4m3.h"
#include "numerics/ue8m0.h"

namespace fathom::kernels::ref {
namespace {

/// Which scale element (r, c) has.
size_t tile_of(int64_t r, int64_t c, int64_t cols, ScaleTile tile) {
  return static_cast<size_t>(r / tile.rows * scale_cols(cols, tile) + c / tile.cols);
}

}  // namespace

Quantized quantize(const Values& x_RC, int64_t cols, ScaleTile tile, ScaleFormat format) {
  const int64_t rows = static_cast<int64_t>(x_RC.size()) / cols;
  Quantized q;
  q.codes.resize(x_RC.size());
  std::vector<float> amax(static_cast<size_t>(scale_rows(rows, tile) * scale_cols(cols, tile)),
                          kE4M3LeastAmax);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      float& max = amax[tile_of(r, c, cols, tile)];
      max = std::fmax(max, std::abs(static_cast<float>(x_RC[r * cols + c])));  // passes over NaN
    }
  for (const float max : amax) {
    const float exact = max / kE4M3Max;
    const bool up = format == ScaleFormat::kPowerOfTwo && std::isfinite(exact);
    q.scale.push_back(up ? to_float(to_ue8m0_up(exact)) : exact);
  }
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      const size_t tile_index = tile_of(r, c, cols, tile);
      const float inverse = format == ScaleFormat::kPowerOfTwo ? 1 / q.scale[tile_index]
                                                               : kE4M3Max / amax[tile_index];
      const float x = static_cast<float>(x_RC[r * cols + c]);
      q.codes[r * cols + c] = to_e4m3(x * inverse).bits;
    }
  return q;
}

Values dequantize(const Quantized& q, int64_t cols, ScaleTile tile) {
  Values x;
  for (int64_t i = 0; i < static_cast<int64_t>(q.codes.size()); ++i)
    x.push_back(to_float(E4M3{q.codes[i]}) * q.scale[tile_of(i / cols, i % cols, cols, tile)]);
  return x;
}

}  // namespace fathom::kernels::ref
