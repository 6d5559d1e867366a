#include "kernels/quantize.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/ops_common.h"
#include "kernels/cpu/ops_scaled.h"
#include "numerics/e5m2.h"
#include "numerics/ue8m0.h"

namespace fathom::kernels {
namespace {

using namespace cpu;

/// Hands out whole tiles: rows for 1x128 and no tiles at all, else pieces of 128x512.
template <class Body>
void for_tiles(Context& ctx, int64_t rows, int64_t cols, ScaleTile tile, int64_t bytes_each,
               Body body) {
  if (tile.rows <= 1) {
    for_items(ctx, rows, bytes_each * cols,
              [&](int64_t begin, int64_t end) { body(begin, int64_t{0}, end - begin, cols); });
    return;
  }
  constexpr int64_t kRows = 128, kCols = 512;
  const int64_t across = (cols + kCols - 1) / kCols, down = (rows + kRows - 1) / kRows;
  for_items(ctx, across * down, bytes_each * kRows * kCols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t r = i / across * kRows, c = i % across * kCols;
      body(r, c, std::min(kRows, rows - r), std::min(kCols, cols - c));
    }
  });
}

void quantize_source(Context& ctx, const char* kernel, const Source& source, const QuantizedView& q,
                     ScaleFormat format) {
  FATHOM_ASSERT(q.first_row % q.tile.rows == 0);
  const ScaledCodes codes = scaled_codes_of(kernel, q);
  for_tiles(ctx, q.rows(), q.cols(), q.tile, 5,
            [&](int64_t r, int64_t c, int64_t rows, int64_t cols) {
              ops(ctx).quantize.quantize(at(source, r, c), at(codes, r, c),
                                         format == ScaleFormat::kPowerOfTwo, rows, cols);
            });
}

}  // namespace

void quantize(Context& ctx, ConstTensorView x_RC, const QuantizedView& q, ScaleFormat format) {
  constexpr const char* kName = "quantize";
  check_same_device(kName, ctx, {x_RC, q.codes, q.scale});
  check_shape(kName, "x", x_RC, {q.rows(), q.cols()});
  quantize_source(ctx, kName, {rows_of(kName, "x", x_RC), {}}, q, format);
}

void dequantize(Context& ctx, const ConstQuantizedView& q, TensorView x_RC) {
  constexpr const char* kName = "dequantize";
  check_same_device(kName, ctx, {q.codes, q.scale, x_RC});
  check_shape(kName, "x", x_RC, {q.rows(), q.cols()});
  const ScaledCodes codes = scaled_codes_of(kName, q);
  const MutableRows x = mutable_rows_of(kName, "x", x_RC);
  for_items(ctx, q.rows(), 5 * q.cols(), [&](int64_t begin, int64_t end) {
    ops(ctx).quantize.dequantize(at(codes, begin), at(x, begin), end - begin, q.cols());
  });
}

void requantize(Context& ctx, const ConstQuantizedView& from, const QuantizedView& to,
                ScaleFormat format) {
  constexpr const char* kName = "requantize";
  check_same_device(kName, ctx, {from.codes, from.scale, to.codes, to.scale});
  check_shape(kName, "from", from.codes, {to.rows(), to.cols()});
  quantize_source(ctx, kName, {{}, scaled_codes_of(kName, from)}, to, format);
}

namespace {

float amax_of(Context& ctx, const Source& x, int64_t rows, int64_t cols) {
  const ArenaScope scope(ctx.arena);
  auto* part = ctx.arena.alloc_array<float>(ctx.pool.size());
  std::fill_n(part, ctx.pool.size(), 0.0f);
  ctx.pool.for_range(rows, grain_of(4 * cols), [&](int64_t begin, int64_t end, int thread) {
    part[thread] = std::max(part[thread], ops(ctx).quantize.amax(at(x, begin), end - begin, cols));
  });
  return *std::max_element(part, part + ctx.pool.size());
}

/// y, contiguous, = x in F32.
void widen(Context& ctx, const Source& x, int64_t rows, int64_t cols, float* y) {
  for_items(ctx, rows, 8 * cols, [&](int64_t begin, int64_t end) {
    const MutableRows to{y + begin * cols, cols, false};
    if (x.codes.codes)
      return ops(ctx).quantize.dequantize(at(x.codes, begin), to, end - begin, cols);
    for (int64_t r = begin; r < end; ++r)
      ops(ctx).row.copy(at(x.rows, r), at(MutableRows{y, cols, false}, r), cols);
  });
}

/// Counts what becomes of the values of tiles.
struct Tally {
  float amax = 0;
  int64_t nonzero = 0, lost = 0, largest = 0;

  void add_tile(const float* x, int64_t stride, int64_t rows, int64_t cols,
                const Rounding& rounding) {
    const bool e5m2 = rounding.format == Float8::kE5M2;
    const float max = e5m2 ? kE5M2Max : kE4M3Max;
    float tile_max = max * (kE4M3LeastAmax / kE4M3Max);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c)
        tile_max = std::fmax(tile_max, std::fabs(x[r * stride + c]));
    if (std::isinf(tile_max)) return;
    float inverse = max / tile_max;
    if (rounding.scale == ScaleFormat::kPowerOfTwo)
      inverse = 1 / to_float(to_ue8m0_up(tile_max / max));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) {
        const float value = x[r * stride + c], scaled = value * inverse;
        const float code = e5m2 ? to_float(to_e5m2(scaled)) : to_float(to_e4m3(scaled));
        amax = std::fmax(amax, std::fabs(value));
        nonzero += value != 0;
        lost += value != 0 && code == 0;
        largest += std::fabs(code) == max;
      }
  }
  RoundingStatistics shares(int64_t elements) const {
    const auto share = [](int64_t part, int64_t all) {
      return all ? static_cast<double>(part) / static_cast<double>(all) : 0;
    };
    return {amax, share(lost, nonzero), share(largest, elements)};
  }
};

bool is_tile(ScaleTile t) {
  return t == kTile1x128 || t == kTile128x1 || t == kBlock128x128 || t == kPerTensor;
}

}  // namespace

void round_to_fp8(Context& ctx, const GemmInput& x_RC, const Rounding& rounding, TensorView y_RC) {
  constexpr const char* kName = "round_to_fp8";
  check_same_device(kName, ctx, {x_RC.values, x_RC.scale, y_RC});
  check_shape(kName, "y", y_RC, {x_RC.rows(), x_RC.cols()});
  FATHOM_ASSERT(is_tile(rounding.tile));
  const Source x = source_of(kName, "x", x_RC);
  const MutableRows y = mutable_rows_of(kName, "y", y_RC);
  RoundingTile tile{rounding.format == Float8::kE5M2, rounding.scale == ScaleFormat::kPowerOfTwo,
                    rounding.tile.rows, rounding.tile.cols, 0};
  if (rounding.tile == kPerTensor) tile.amax = amax_of(ctx, x, x_RC.rows(), x_RC.cols());
  for_tiles(ctx, x_RC.rows(), x_RC.cols(), rounding.tile, 6,
            [&](int64_t r, int64_t c, int64_t rows, int64_t cols) {
              ops(ctx).quantize.round(at(x, r, c), at(y, r, c), tile, rows, cols);
            });
}

RoundingStatistics rounding_statistics(Context& ctx, const GemmInput& x_RC,
                                       const Rounding& rounding) {
  const int64_t rows = x_RC.rows(), cols = x_RC.cols();
  if (rows * cols == 0) return {};
  const ArenaScope scope(ctx.arena);
  const TensorView values_RC = ctx.arena.alloc(DType::kF32, {rows, cols});
  widen(ctx, source_of("rounding_statistics", "x", x_RC), rows, cols, values_RC.as<float>());
  const bool whole = rounding.tile == kPerTensor;
  const ScaleTile tile = whole ? ScaleTile{rows, cols} : rounding.tile;
  Tally tally;
  for (int64_t r = 0; r < rows; r += tile.rows)
    for (int64_t c = 0; c < cols; c += tile.cols)
      tally.add_tile(values_RC.as<float>() + r * cols + c, cols, std::min(tile.rows, rows - r),
                     std::min(tile.cols, cols - c), rounding);
  return tally.shares(rows * cols);
}

}  // namespace fathom::kernels
