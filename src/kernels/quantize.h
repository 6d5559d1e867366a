#pragma once

#include "base/context.h"
#include "kernels/quantized.h"

namespace fathom::kernels {

/// How a tile's scale is rounded: not, or up to a power of two (UE8M0, as V3.1's checkpoints and
/// V3's dispatch; requantizing with another tile shape then adds no error of the scale).
enum class ScaleFormat : uint8_t { kF32, kPowerOfTwo };

/// Quantizes with online scales (report section 3.3.2): in each tile scale = amax / 448, rounded as
/// format says, and code = e4m3(x · (448 / amax)), with powers of two e4m3(x / scale), all in FP32;
/// amax counts as at least kE4M3LeastAmax, so that a tile of zeros stays zero.
///   x_RC F32 or BF16; q gives codes, scales and tile: 1x128, 128x1 or 128x128, first_row a
///   multiple of tile.rows.
/// Tiles at the edges cover what there is, which gives the scale of a tile padded with zeros, as
/// checkpoints have it. NaN stays NaN in its place; infinity makes its whole tile NaN. The same
/// bits on every instruction set.
void quantize(Context& ctx, ConstTensorView x_RC, const QuantizedView& q, ScaleFormat format);

/// x = code · scale, rounded once. x_RC F32 or BF16.
void dequantize(Context& ctx, const ConstQuantizedView& q, TensorView x_RC);

/// quantize(dequantize(from)) in F32 without the array between: from 1x128, as the forward pass
/// needs, to 128x1, as the weight gradient does (section 3.5.2).
void requantize(Context& ctx, const ConstQuantizedView& from, const QuantizedView& to,
                ScaleFormat format);

/// FP8 formats of a matrix product's inputs: E4M3 everywhere in the paper's recipe.
enum class Float8 : uint8_t { kE4M3, kE5M2 };

/// One scale for a whole matrix, in place of tiles.
inline constexpr ScaleTile kPerTensor{0, 0};

/// How values are rounded to FP8: the largest magnitude of each tile becomes that of the format.
struct Rounding {
  Float8 format = Float8::kE4M3;
  ScaleTile tile = kTile1x128;  ///< 1x128, 128x1, 128x128 or kPerTensor
  ScaleFormat scale = ScaleFormat::kF32;
  bool operator==(const Rounding&) const = default;
};

/// y = x rounded to FP8 and back, F32 or BF16 (rounded once): in E4M3 the bits of quantize and
/// dequantize, without codes between. For inputs of products that are used once: as BF16 they are
/// what a product makes of the codes anyway. y may be x.
void round_to_fp8(Context& ctx, const GemmInput& x_RC, const Rounding& rounding, TensorView y_RC);

/// What rounding does to a matrix.
struct RoundingStatistics {
  float amax = 0;
  double underflow = 0;   ///< share of the values not zero that become zero
  double saturation = 0;  ///< share of all that get the format's largest magnitude
};
/// Reference speed; NaN and infinity count as neither.
RoundingStatistics rounding_statistics(Context& ctx, const GemmInput& x_RC,
                                       const Rounding& rounding);

/// Where a fused operator puts a quantized output: empty for nowhere. Tiles of 1x128.
struct QuantizedOutput {
  QuantizedView view;
  ScaleFormat format = ScaleFormat::kF32;
  explicit operator bool() const { return static_cast<bool>(view.codes); }
};

/// Scales of an R x C matrix: rows and columns of the array that holds them.
constexpr int64_t scale_rows(int64_t rows, ScaleTile tile) {
  return (rows + tile.rows - 1) / tile.rows;
}
constexpr int64_t scale_cols(int64_t cols, ScaleTile tile) {
  return (cols + tile.cols - 1) / tile.cols;
}

}  // namespace fathom::kernels
