#include "kernels/quantize.h"

#include "numerics/e4m3.h"
#include "numerics/e5m2.h"
#include "quantized_test.h"

namespace fathom {
namespace {

using namespace kernels;

const ScaleTile kTiles[] = {kTile1x128, kTile128x1, kBlock128x128};
const ScaleFormat kFormats[] = {ScaleFormat::kF32, ScaleFormat::kPowerOfTwo};

struct Shape {
  int64_t rows, cols;
};
const Shape kShapes[] = {{0, 5}, {1, 1}, {3, 128}, {130, 7}, {128, 256}, {257, 300}, {65, 129}};

/// Normal values whose scale varies over rows and columns, and some zeros.
void fill_uneven(const TensorView& x) {
  const int64_t cols = x.cols();
  for (int64_t r = 0; r < x.rows(); ++r)
    for (int64_t c = 0; c < cols; ++c) {
      const int64_t i = r * x.stride[0] + c;
      const float factor = std::ldexp(1.0f, static_cast<int>((r * 7 + c / 40 * 5) % 60) - 40);
      set_element(x, i, (r + c) % 11 == 0 ? 0 : factor * element(x, i));
    }
}

TEST(Quantize, MatchesDefinitionBitForBit) {
  TestContext tc;
  for (const auto [rows, cols] : kShapes)
    for (const DType type : kFloatTypes)
      for (const ScaleTile tile : kTiles)
        for (const ScaleFormat format : kFormats) {
          const Padded x(type, rows, cols, 6, 1);
          fill_uneven(x.view);
          const QuantizedStorage q(rows, cols, tile);
          quantize(tc.ctx, x.view, q.view, format);
          expect_equal(contents(q.view), ref::quantize(values(x.view), cols, tile, format));
        }
}

TEST(Quantize, DequantizesToCodeTimesScale) {
  TestContext tc;
  for (const auto [rows, cols] : kShapes)
    for (const DType type : kFloatTypes)
      for (const ScaleTile tile : kTiles) {
        const Padded x(DType::kF32, rows, cols, 6, 1), y(type, rows, cols, 2, 2);
        const QuantizedStorage q(rows, cols, tile);
        quantize(tc.ctx, x.view, q.view, ScaleFormat::kF32);
        dequantize(tc.ctx, q.view, y.view);
        expect_values(y.view, ref::dequantize(contents(q.view), cols, tile), 0,
                      type == DType::kBF16 ? kRoundBF16 : 0);
      }
}

// Half a unit in the last place of E4M3 is 2^-4 of a normal value, 2^-10 of the scale below; the
// scale is at most amax/448, twice that as a power of two.
TEST(Quantize, ErrorIsThatOfE4M3) {
  TestContext tc;
  for (const ScaleTile tile : kTiles)
    for (const ScaleFormat format : kFormats) {
      const Tensor x = random_tensor(DType::kF32, {256, 256}, 1), y(DType::kF32, {256, 256});
      const QuantizedStorage q(256, 256, tile);
      quantize(tc.ctx, x, q.view, format);
      dequantize(tc.ctx, q.view, y);
      const double scale = (format == ScaleFormat::kPowerOfTwo ? 2 : 1) * max_abs(values(x)) / 448;
      expect_values(y, values(x), scale * 0x1p-10, 0x1.00001p-4);
    }
}

TEST(Quantize, PowersOfTwoAreAtLeastTheScaleAndLessThanTwice) {
  TestContext tc;
  const Tensor x = random_tensor(DType::kF32, {64, 512}, 1);
  const QuantizedStorage exact(64, 512, kTile1x128), power(64, 512, kTile1x128);
  quantize(tc.ctx, x, exact.view, ScaleFormat::kF32);
  quantize(tc.ctx, x, power.view, ScaleFormat::kPowerOfTwo);
  const std::vector<float> a = contents(exact.view).scale, b = contents(power.view).scale;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_LE(a[i], b[i]);
    EXPECT_LT(b[i], 2 * a[i]);
    EXPECT_EQ(std::bit_cast<uint32_t>(b[i]) & 0x7fffffu, 0u);
  }
}

TEST(Quantize, ZerosStayZeroAndExtremesSurvive) {
  TestContext tc;
  for (const ScaleFormat format : kFormats) {
    const Tensor x(DType::kF32, {4, 128}), y(DType::kF32, {4, 128});
    x.as<float>()[128] = 1e38f, x.as<float>()[129] = -1e36f;
    x.as<float>()[256] = 1e-38f;           // below what a scale is made of: at most lost
    x.as<float>()[384] = 448 * 0x1p-120f;  // the least full-scale amax
    const QuantizedStorage q(4, 128, kTile1x128);
    quantize(tc.ctx, x, q.view, format);
    dequantize(tc.ctx, q.view, y);
    for (int i = 0; i < 128; ++i) EXPECT_EQ(y.as<float>()[i], 0);
    EXPECT_NEAR(y.as<float>()[128], 1e38, 1e38 / 16);
    EXPECT_NEAR(y.as<float>()[129], -1e36, 1e36 / 16);
    EXPECT_NEAR(y.as<float>()[256], 0, 1.1e-38);
    EXPECT_EQ(y.as<float>()[384], x.as<float>()[384]);
  }
}

TEST(Quantize, NanStaysInItsPlaceAndInfinityMakesItsTileNan) {
  TestContext tc;
  for (const ScaleTile tile : kTiles)
    for (const ScaleFormat format : kFormats) {
      const Tensor x = random_tensor(DType::kF32, {128, 384}, 1), y(DType::kF32, {128, 384});
      x.as<float>()[200] = NAN;
      x.as<float>()[300] = INFINITY;
      const QuantizedStorage q(128, 384, tile);
      quantize(tc.ctx, x, q.view, format);
      expect_equal(contents(q.view), ref::quantize(values(x), 384, tile, format));
      dequantize(tc.ctx, q.view, y);
      for (int64_t r = 0; r < 128; ++r)
        for (int64_t c = 0; c < 384; ++c) {
          const bool tile_of_infinity = r / tile.rows == 0 && c / tile.cols == 300 / tile.cols;
          const bool nan = (r == 0 && c == 200) || tile_of_infinity;
          ASSERT_EQ(std::isnan(y.as<float>()[r * 384 + c]), nan) << r << ", " << c;
        }
    }
}

TEST(Requantize, IsQuantizeOfDequantized) {
  TestContext tc;
  for (const auto [rows, cols] : kShapes)
    for (const ScaleTile tile : kTiles)
      for (const ScaleFormat format : kFormats) {
        const Padded x(DType::kF32, rows, cols, 6, 1);
        fill_uneven(x.view);
        const QuantizedStorage from(rows, cols, kTile1x128), to(rows, cols, tile),
            expected(rows, cols, tile);
        const Tensor plain(DType::kF32, {rows, cols});
        quantize(tc.ctx, x.view, from.view, format);
        requantize(tc.ctx, from.view, to.view, format);
        dequantize(tc.ctx, from.view, plain);
        quantize(tc.ctx, plain, expected.view, format);
        expect_equal(contents(to.view), contents(expected.view));
      }
}

// A value only loses bits where the new scale, a greater power of two, makes it subnormal.
TEST(Requantize, PowersOfTwoAddNoErrorToNormalValues) {
  TestContext tc;
  const Tensor x = random_tensor(DType::kF32, {256, 256}, 1);
  const QuantizedStorage rows(256, 256, kTile1x128), cols(256, 256, kTile128x1);
  const Tensor before(DType::kF32, {256, 256}), after(DType::kF32, {256, 256});
  quantize(tc.ctx, x, rows.view, ScaleFormat::kPowerOfTwo);
  requantize(tc.ctx, rows.view, cols.view, ScaleFormat::kPowerOfTwo);
  dequantize(tc.ctx, rows.view, before);
  dequantize(tc.ctx, cols.view, after);
  const double greatest_scale = 2 * max_abs(values(x)) / 448;
  for (int64_t i = 0; i < 256 * 256; ++i) {
    const float value = before.as<float>()[i];
    if (std::abs(value) < 0x1p-6 * greatest_scale) continue;
    ASSERT_EQ(value, after.as<float>()[i]) << i;
  }
}

void expect_same_or_nan(const std::vector<double>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i)
    ASSERT_TRUE(actual[i] == expected[i] ? std::signbit(actual[i]) == std::signbit(expected[i])
                                         : std::isnan(actual[i]) && std::isnan(expected[i]))
        << i << ": " << actual[i] << ", expected " << expected[i];
}

TEST(RoundToFp8, IsDequantizeOfQuantized) {
  TestContext tc;
  for (const auto [rows, cols] : kShapes)
    for (const DType type : kFloatTypes)
      for (const ScaleTile tile : kTiles)
        for (const ScaleFormat format : kFormats) {
          const Padded x(type, rows, cols, 6, 1), y(type, rows, cols, 3, 2),
              z(type, rows, cols, 1, 3);
          fill_uneven(x.view);
          if (rows > 2) set_element(x.view, x.view.stride[0], NAN);
          if (rows > 3) set_element(x.view, 3 * x.view.stride[0] + 1, INFINITY);
          const QuantizedStorage q(rows, cols, tile);
          quantize(tc.ctx, x.view, q.view, format);
          dequantize(tc.ctx, q.view, z.view);
          round_to_fp8(tc.ctx, x.view, {Float8::kE4M3, tile, format}, y.view);
          expect_same_or_nan(values(y.view), values(z.view));
          round_to_fp8(tc.ctx, x.view, {Float8::kE4M3, tile, format}, x.view);
          expect_same_or_nan(values(x.view), values(z.view));
        }
}

TEST(RoundToFp8, TakesCodesWithScales) {
  TestContext tc;
  const Tensor x = random_tensor(DType::kF32, {200, 300}, 1), plain(DType::kF32, {200, 300});
  const Tensor y(DType::kBF16, {200, 300}), z(DType::kBF16, {200, 300});
  const QuantizedStorage q(200, 300, kTile1x128);
  quantize(tc.ctx, x, q.view, ScaleFormat::kPowerOfTwo);
  dequantize(tc.ctx, q.view, plain);
  const Rounding rounding{Float8::kE4M3, kTile128x1, ScaleFormat::kPowerOfTwo};
  round_to_fp8(tc.ctx, q.view, rounding, y);
  round_to_fp8(tc.ctx, plain, rounding, z);
  EXPECT_EQ(bits(y), bits(z));
}

// The definition, value by value: scale = amax of the tile / largest magnitude.
TEST(RoundToFp8, RoundsToE5M2AndToOneScale) {
  TestContext tc;
  for (const ScaleTile tile : {kTile1x128, kTile128x1, kBlock128x128, kPerTensor})
    for (const Float8 format : {Float8::kE4M3, Float8::kE5M2}) {
      const int64_t rows = 150, cols = 260;
      const Padded x(DType::kF32, rows, cols, 6, 1), y(DType::kF32, rows, cols, 3, 2);
      fill_uneven(x.view);
      round_to_fp8(tc.ctx, x.view, {format, tile, ScaleFormat::kF32}, y.view);
      const bool e5m2 = format == Float8::kE5M2;
      const float max = e5m2 ? kE5M2Max : kE4M3Max;
      const ScaleTile t = tile == kPerTensor ? ScaleTile{rows, cols} : tile;
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < cols; ++c) {
          float amax = max * 0x1p-120f;
          for (int64_t i = r / t.rows * t.rows; i < std::min(rows, (r / t.rows + 1) * t.rows); ++i)
            for (int64_t j = c / t.cols * t.cols; j < std::min(cols, (c / t.cols + 1) * t.cols);
                 ++j)
              amax = std::max(amax, std::abs(element(x.view, i * x.view.stride[0] + j)));
          const float scaled = element(x.view, r * x.view.stride[0] + c) * (max / amax);
          const float code = e5m2 ? to_float(to_e5m2(scaled)) : to_float(to_e4m3(scaled));
          ASSERT_EQ(element(y.view, r * y.view.stride[0] + c), code * (amax / max))
              << r << ", " << c;
          if (t.cols > 128 && r > 2) return;  // a tile as large as the matrix: a few rows will do
        }
    }
}

TEST(RoundToFp8, SameBitsForAnyTeam) {
  const Tensor x = random_tensor(DType::kBF16, {389, 513}, 1);
  for (const ScaleTile tile : {kTile128x1, kPerTensor})
    expect_same_for_threads([&](Context& ctx) {
      const Tensor y(DType::kBF16, {389, 513});
      round_to_fp8(ctx, x, {Float8::kE4M3, tile, ScaleFormat::kF32}, y);
      return bits(y);
    });
}

TEST(RoundingStatistics, CountsWhatIsLostAndWhatIsLargest) {
  TestContext tc;
  const Tensor x(DType::kF32, {2, 256});
  float* v = x.as<float>();
  v[0] = 448, v[1] = -448, v[2] = 300, v[3] = 0x1p-11f;  // the last is below half of 2^-9
  v[256] = 1;                                            // a tile of its own
  const Rounding rows{Float8::kE4M3, kTile1x128, ScaleFormat::kF32};
  const RoundingStatistics s = rounding_statistics(tc.ctx, x, rows);
  EXPECT_EQ(s.amax, 448);
  EXPECT_DOUBLE_EQ(s.underflow, 1.0 / 5);
  EXPECT_DOUBLE_EQ(s.saturation, 3.0 / 512);
  const RoundingStatistics whole =
      rounding_statistics(tc.ctx, x, {Float8::kE4M3, kPerTensor, ScaleFormat::kF32});
  EXPECT_DOUBLE_EQ(whole.saturation, 2.0 / 512);
}

TEST(Quantize, RowRangesShareTheScales) {
  TestContext tc;
  const Tensor x = random_tensor(DType::kF32, {300, 200}, 1), whole(DType::kF32, {300, 200});
  for (const ScaleTile tile : kTiles) {
    const QuantizedStorage all(300, 200, tile), parts(300, 200, tile);
    quantize(tc.ctx, x, all.view, ScaleFormat::kF32);
    quantize(tc.ctx, x.view().row_range(0, 128), parts.view.row_range(0, 128), ScaleFormat::kF32);
    quantize(tc.ctx, x.view().row_range(128, 172), parts.view.row_range(128, 172),
             ScaleFormat::kF32);
    expect_equal(contents(parts.view), contents(all.view));
    dequantize(tc.ctx, all.view, whole);
    const Tensor some(DType::kF32, {61, 200});
    dequantize(tc.ctx, all.view.row_range(101, 61), some);
    EXPECT_EQ(bits(some), bits(whole.view().row_range(101, 61)));
  }
}

TEST(Quantize, SameBitsForAnyTeam) {
  const Tensor x = random_tensor(DType::kBF16, {389, 513}, 1);
  for (const ScaleTile tile : kTiles)
    expect_same_for_threads([&](Context& ctx) {
      const QuantizedStorage q(389, 513, tile);
      quantize(ctx, x, q.view, ScaleFormat::kF32);
      const Tensor y(DType::kBF16, {389, 513});
      dequantize(ctx, q.view, y);
      return bits(y);
    });
}

}  // namespace
}  // namespace fathom
