#include <cstring>
#include <span>

#include "kernels/e5m6.h"
#include "kernels/logfmt.h"
#include "numerics/e5m6.h"
#include "numerics/logfmt.h"
#include "numerics/ue8m0.h"
#include "ops_test.h"

namespace fathom {
namespace {

using namespace kernels;

struct Shape {
  int64_t t, c;
};
const Shape kShapes[] = {{1, 1}, {3, 128}, {2, 200}, {5, 384}, {130, 1}};

/// Normal values whose magnitude varies from group to group, some zeros.
void fill_uneven(const TensorView& x) {
  for (int64_t r = 0; r < x.rows(); ++r)
    for (int64_t c = 0; c < x.cols(); ++c) {
      const int64_t i = r * x.stride[0] + c;
      const float factor = std::ldexp(1.0f, static_cast<int>((r * 3 + c / 128 * 5) % 20) - 15);
      set_element(x, i, (r + c) % 13 == 5 ? 0 : factor * element(x, i));
    }
}

struct E5M6Rows {
  explicit E5M6Rows(int64_t t, int64_t c)
      : packed(DType::kU8, {t, e5m6_row_bytes(c)}), scale(DType::kU8, {t, e5m6_row_scales(c)}) {}
  /// The code of element (r, c), by the layout that the header describes.
  uint32_t code(int64_t r, int64_t c) const {
    const uint8_t* group = packed.as<uint8_t>() + r * packed.view().cols() + c / 128 * 192;
    const int64_t i = c % 128;
    const uint32_t low = group[128 + i % 64];
    return uint32_t{group[i]} << 4 | (i < 64 ? low & 15 : low >> 4);
  }
  Tensor packed, scale;
};

/// The least power of two that brings a group's amax to 65024 or below.
float e5m6_scale(const ConstTensorView& x, int64_t r, int64_t group) {
  float amax = 65024 * 0x1p-120f;
  for (int64_t c = group * 128; c < std::min(x.cols(), group * 128 + 128); ++c)
    amax = std::fmax(amax, std::abs(element(x, r * x.stride[0] + c)));
  return to_float(to_ue8m0_up(amax / kE5M6Max));
}

TEST(E5M6Rows, PacksAsDefined) {
  TestContext tc;
  for (const auto [t, c] : kShapes)
    for (const DType type : kFloatTypes) {
      const Padded x(type, t, c, 4, 1);
      fill_uneven(x.view);
      const E5M6Rows rows(t, c);
      e5m6_pack(tc.ctx, x.view, rows.packed, rows.scale);
      for (int64_t r = 0; r < t; ++r)
        for (int64_t i = 0; i < c; ++i) {
          const float scale = e5m6_scale(x.view, r, i / 128);
          const UE8M0 stored{rows.scale.as<uint8_t>()[r * rows.scale.view().cols() + i / 128]};
          ASSERT_EQ(to_float(stored), scale);
          const float value = element(x.view, r * x.view.stride[0] + i);
          ASSERT_EQ(rows.code(r, i), to_e5m6(value / scale).bits) << value;
        }
    }
}

TEST(E5M6Rows, EveryCodeSurvives) {
  TestContext tc;
  const Tensor x(DType::kF32, {32, 128}), y(DType::kF32, {32, 128}), z(DType::kBF16, {32, 128});
  for (int i = 0; i < 4096; ++i) x.as<float>()[i] = to_float(E5M6{static_cast<uint16_t>(i)});
  for (int r = 0; r < 32; ++r)  // a scale of 1, and no infinity
    for (float& v : std::span(x.as<float>() + 128 * r, 128)) v = std::isinf(v) ? kE5M6Max : v;
  for (int r = 0; r < 32; ++r) x.as<float>()[128 * r + 7] = kE5M6Max;
  const E5M6Rows rows(32, 128);
  e5m6_pack(tc.ctx, x, rows.packed, rows.scale);
  e5m6_unpack(tc.ctx, rows.packed, rows.scale, y);
  e5m6_unpack(tc.ctx, rows.packed, rows.scale, z);
  expect_values(y, values(x), 0, 0);
  expect_values(z, values(x), 0, 0);
}

// Half a unit in the last place of seven significant bits; 2^-21 of the scale below 2^-14.
TEST(E5M6Rows, ErrorIsThatOfTheFormat) {
  TestContext tc;
  for (const auto [t, c] : kShapes) {
    const Tensor x = random_tensor(DType::kF32, {t, c}, 1), y(DType::kF32, {t, c});
    fill_uneven(x);
    const E5M6Rows rows(t, c);
    e5m6_pack(tc.ctx, x, rows.packed, rows.scale);
    e5m6_unpack(tc.ctx, rows.packed, rows.scale, y);
    expect_values(y, values(x), 2 * max_abs(values(x)) / kE5M6Max * 0x1p-21, 0x1p-7);
  }
}

TEST(E5M6Rows, NanStaysAndInfinityMakesItsGroupNan) {
  TestContext tc;
  const Tensor x = random_tensor(DType::kBF16, {1, 384}, 1), y(DType::kBF16, {1, 384});
  set_element(x, 5, NAN);
  set_element(x, 140, -INFINITY);
  const E5M6Rows rows(1, 384);
  e5m6_pack(tc.ctx, x, rows.packed, rows.scale);
  e5m6_unpack(tc.ctx, rows.packed, rows.scale, y);
  for (int64_t i = 0; i < 384; ++i)
    EXPECT_EQ(std::isnan(element(y, i)), i == 5 || (i >= 128 && i < 256)) << i;
}

const LogFmt kFormats[] = {kLogFmt8, kLogFmt10, kDeepEpLogFmt10};

/// The grid of a group, from the metadata in the packed row.
LogFmtGrid stored_grid(LogFmt format, const uint8_t* row, int64_t cols, int64_t group) {
  uint16_t extremes[2];
  std::memcpy(extremes, row + (cols + 127) / 128 * 16 * format.bits + group * 4, 4);
  return logfmt_grid(format.bits, to_float(BF16{extremes[0]}), to_float(BF16{extremes[1]}));
}

uint32_t stored_code(LogFmt format, const uint8_t* row, int64_t c) {
  if (format.bits == 8) return row[c];
  uint32_t words[5];
  uint16_t codes[16];
  std::memcpy(words, row + c / 16 * 20, sizeof words);
  unpack_logfmt10(words, codes);
  return codes[c % 16];
}

/// The greatest, and the least magnitude (not zero unless zeros count), of a group of BF16.
void expect_extremes(LogFmt format, const ConstTensorView& x, int64_t r, int64_t group,
                     const uint8_t* row) {
  float amax = 0, amin = INFINITY;
  for (int64_t c = group * 128; c < std::min(x.cols(), group * 128 + 128); ++c) {
    const float v = std::abs(element(x, r * x.stride[0] + c));
    amax = std::max(amax, v);
    if (v > 0 || format.zeros_in_amin) amin = std::min(amin, v);
  }
  uint16_t extremes[2];
  std::memcpy(extremes, row + (x.cols() + 127) / 128 * 16 * format.bits + group * 4, 4);
  EXPECT_EQ(to_float(BF16{extremes[0]}), amax);
  EXPECT_EQ(to_float(BF16{extremes[1]}), std::isinf(amin) ? 0 : amin);
}

TEST(LogFmtRows, EncodesAsDefined) {
  TestContext tc;
  for (const LogFmt format : kFormats)
    for (const auto [t, c] : kShapes) {
      const Padded x(DType::kBF16, t, c, 4, 1);
      fill_uneven(x.view);
      const Tensor packed(DType::kU8, {t, logfmt_row_bytes(format, c)});
      logfmt_encode(tc.ctx, format, x.view, packed);
      for (int64_t r = 0; r < t; ++r) {
        const uint8_t* row = packed.as<uint8_t>() + r * packed.view().cols();
        for (int64_t g = 0; g * 128 < c; ++g) expect_extremes(format, x.view, r, g, row);
        for (int64_t i = 0; i < c; ++i) {
          const LogFmtGrid grid = stored_grid(format, row, c, i / 128);
          const float value = element(x.view, r * x.view.stride[0] + i);
          const uint32_t low = logfmt_encode(grid, format.bits, value * (1 - 0x1p-17f));
          const uint32_t high = logfmt_encode(grid, format.bits, value * (1 + 0x1p-17f));
          const uint32_t code = stored_code(format, row, i);
          const uint32_t exact = logfmt_encode(grid, format.bits, value);
          ASSERT_TRUE(code == exact || code == low || code == high)
              << value << " gives " << code << ", expected " << exact;
        }
      }
    }
}

TEST(LogFmtRows, DecodesAsDefined) {
  TestContext tc;
  for (const LogFmt format : kFormats)
    for (const DType type : kFloatTypes)
      for (const auto [t, c] : kShapes) {
        const Tensor x = random_tensor(DType::kBF16, {t, c}, 1);
        fill_uneven(x);
        const Tensor packed(DType::kU8, {t, logfmt_row_bytes(format, c)});
        const Padded y(type, t, c, 4, 2);
        logfmt_encode(tc.ctx, format, x, packed);
        logfmt_decode(tc.ctx, format, packed, y.view);
        Values expected;
        for (int64_t r = 0; r < t; ++r) {
          const uint8_t* row = packed.as<uint8_t>() + r * packed.view().cols();
          for (int64_t i = 0; i < c; ++i)
            expected.push_back(logfmt_decode(stored_grid(format, row, c, i / 128), format.bits,
                                             stored_code(format, row, i)));
        }
        expect_values(y.view, expected, 0, 0x1p-18 + (type == DType::kBF16 ? kRoundBF16 : 0));
      }
}

// Rounding is to the nearest of values a factor 2^step apart: the relative error is at most
// (2^step − 1) / 2 above the least value; here a group spans at most 2^(32·step codes).
TEST(LogFmtRows, ErrorIsHalfAStep) {
  TestContext tc;
  for (const LogFmt format : kFormats) {
    const Tensor x = random_tensor(DType::kBF16, {16, 512}, 3, 0.1f), y(DType::kF32, {16, 512});
    const Tensor packed(DType::kU8, {16, logfmt_row_bytes(format, 512)});
    logfmt_encode(tc.ctx, format, x, packed);
    logfmt_decode(tc.ctx, format, packed, y);
    const double step = 32.0 / ((1 << (format.bits - 1)) - 2);
    expect_values(y, values(x), 0, (std::exp2(step) - 1) / 2 + 0x1p-16);
  }
}

TEST(LogFmtRows, ZerosAndSingleMagnitudesSurvive) {
  TestContext tc;
  for (const LogFmt format : {kLogFmt8, kLogFmt10}) {
    const Tensor x(DType::kBF16, {1, 384}), y(DType::kBF16, {1, 384});
    for (int64_t i = 128; i < 256; ++i) set_element(x, i, i % 3 ? 0.25f : -0.25f);
    for (int64_t i = 256; i < 384; ++i) set_element(x, i, i % 2 ? 0 : 1.5f);
    const Tensor packed(DType::kU8, {1, logfmt_row_bytes(format, 384)});
    logfmt_encode(tc.ctx, format, x, packed);
    logfmt_decode(tc.ctx, format, packed, y);
    expect_values(y, values(x), 0, 0);
  }
}

TEST(LogFmtRows, SizesAreTheSpecifications) {
  EXPECT_EQ(logfmt_row_bytes(kLogFmt10, 7168), 7168 * 10 / 8 + 7168 / 128 * 4);
  EXPECT_EQ(e5m6_row_bytes(16384), 16384 * 12 / 8);
}

TEST(PackedRows, SameBitsForAnyTeam) {
  const Tensor x = random_tensor(DType::kBF16, {389, 512}, 1);
  expect_same_for_threads([&](Context& ctx) {
    const Tensor packed(DType::kU8, {389, logfmt_row_bytes(kLogFmt10, 512)});
    logfmt_encode(ctx, kLogFmt10, x, packed);
    return bits(packed);
  });
  expect_same_for_threads([&](Context& ctx) {
    const E5M6Rows rows(389, 512);
    e5m6_pack(ctx, x, rows.packed, rows.scale);
    return bits(rows.packed);
  });
}

}  // namespace
}  // namespace fathom
