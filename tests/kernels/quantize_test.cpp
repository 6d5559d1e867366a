#include "kernels/quantize.h"

#include "numerics/e4m3.h"
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
