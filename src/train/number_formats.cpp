#include "train/number_formats.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/elementwise.h"
#include "kernels/logfmt.h"
#include "kernels/quantize.h"
#include "numerics/bf16.h"
#include "numerics/e5m2.h"

namespace fathom::train {
namespace {

constexpr int64_t kGroup = 128;

float value_at(const ConstTensorView& x, int64_t row, int64_t col) {
  const int64_t at = row * x.stride[0] + col;
  return x.dtype == DType::kF32 ? x.as<float>()[at] : to_float(x.as<BF16>()[at]);
}

void through_bf16(Context& ctx, TensorView x_TC) {
  const TensorView sent = ctx.arena.alloc(DType::kBF16, {x_TC.rows(), x_TC.cols()});
  kernels::copy(ctx, x_TC, sent);
  kernels::copy(ctx, sent, x_TC);
}

void through_e4m3(Context& ctx, TensorView x_TC) {
  const kernels::ScaleTile tile = kernels::kTile1x128;
  const kernels::QuantizedView sent(
      ctx.arena.alloc(DType::kE4M3, {x_TC.rows(), x_TC.cols()}),
      ctx.arena.alloc(DType::kF32, {x_TC.rows(), kernels::scale_cols(x_TC.cols(), tile)}), tile);
  kernels::quantize(ctx, x_TC, sent, kernels::ScaleFormat::kF32);
  kernels::dequantize(ctx, sent, x_TC);
}

/// By the scalar definition (numerics/e5m2.h).
void group_through_e5m2(float* x, int64_t count) {
  float amax = 0;
  for (int64_t i = 0; i < count; ++i) amax = std::max(amax, std::abs(x[i]));
  if (amax == 0) return;
  const float scale = amax / kE5M2Max;
  for (int64_t i = 0; i < count; ++i) x[i] = to_float(to_e5m2(x[i] / scale)) * scale;
}

void through_e5m2(Context& ctx, TensorView x_TC) {
  const TensorView values = ctx.arena.alloc(DType::kF32, {x_TC.rows(), x_TC.cols()});
  kernels::copy(ctx, x_TC, values);
  ctx.pool.for_each(x_TC.rows(), [&](int64_t row, int) {
    float* x = values.as<float>() + row * x_TC.cols();
    for (int64_t c = 0; c < x_TC.cols(); c += kGroup)
      group_through_e5m2(x + c, std::min(kGroup, x_TC.cols() - c));
  });
  kernels::copy(ctx, values, x_TC);
}

void through_logfmt(Context& ctx, kernels::LogFmt format, TensorView x_TC) {
  const TensorView sent =
      ctx.arena.alloc(DType::kU8, {x_TC.rows(), kernels::logfmt_row_bytes(format, x_TC.cols())});
  kernels::logfmt_encode(ctx, format, x_TC, sent);
  kernels::logfmt_decode(ctx, format, sent, x_TC);
}

}  // namespace

std::string_view name_of(NumberFormat format) {
  constexpr std::array<std::string_view, kNumberFormats.size()> kNames = {"bf16", "e4m3", "e5m2",
                                                                          "logfmt8", "logfmt10"};
  return kNames[static_cast<size_t>(format)];
}

double bits_per_value(NumberFormat format) {
  constexpr double kPerGroup = 32.0 / kGroup;  // an FP32 scale, or two limits in BF16
  constexpr std::array<double, kNumberFormats.size()> kBits = {16, 8 + kPerGroup, 8 + kPerGroup,
                                                               8 + kPerGroup, 10 + kPerGroup};
  return kBits[static_cast<size_t>(format)];
}

void round_trip(Context& ctx, NumberFormat format, TensorView x_TC) {
  ArenaScope scope(ctx.arena);
  switch (format) {
    case NumberFormat::kBF16:
      return through_bf16(ctx, x_TC);
    case NumberFormat::kE4M3:
      return through_e4m3(ctx, x_TC);
    case NumberFormat::kE5M2:
      return through_e5m2(ctx, x_TC);
    case NumberFormat::kLogFmt8:
      return through_logfmt(ctx, kernels::kLogFmt8, x_TC);
    case NumberFormat::kLogFmt10:
      return through_logfmt(ctx, kernels::kLogFmt10, x_TC);
  }
}

void FormatNoise::add(ConstTensorView original_TC, ConstTensorView sent_TC) {
  for (int64_t r = 0; r < original_TC.rows(); ++r)
    for (int64_t c = 0; c < original_TC.cols(); ++c) {
      const double x = value_at(original_TC, r, c), y = value_at(sent_TC, r, c);
      signal += x * x;
      noise += (y - x) * (y - x);
      before += std::abs(x);
      after += std::abs(y);
      nonzero += x != 0;
      zeroed += x != 0 && y == 0;
    }
}

double FormatNoise::signal_to_noise_db() const {
  if (noise == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(signal / noise);
}

}  // namespace fathom::train
