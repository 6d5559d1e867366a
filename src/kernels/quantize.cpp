#include "kernels/quantize.h"

#include "kernels/cpu/ops_common.h"
#include "kernels/cpu/ops_scaled.h"

namespace fathom::kernels {
namespace {

using namespace cpu;

/// Hands out whole tiles: rows for 1x128, else pieces of 128x512.
template <class Body>
void for_tiles(Context& ctx, int64_t rows, int64_t cols, ScaleTile tile, int64_t bytes_each,
               Body body) {
  if (tile.rows == 1) {
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

}  // namespace fathom::kernels
