#include "numerics/logfmt.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace fathom {
namespace {

/// Values are computed as exp2 of a sum of magnitude up to 32, of which F32 keeps 2^-20 or better
/// (half a unit in the last place of 32, twice), so to a relative 2^-20·ln 2 and the error of exp2.
constexpr double kValueError = 0x1p-20;

const int kBits[] = {8, 10};

LogFmtGrid typical_grid(int bits) {
  return logfmt_grid(bits, 0.75f, 0x1p-11f);
}

uint32_t greatest(int bits) {
  return (1u << (bits - 1)) - 1;
}

TEST(LogFmt, FirstAndLastCodeAreTheExtremes) {
  for (const int bits : kBits) {
    const LogFmtGrid grid = typical_grid(bits);
    EXPECT_EQ(logfmt_decode(grid, bits, 0), 0);
    EXPECT_NEAR(logfmt_decode(grid, bits, 1), 0x1p-11, 0x1p-11 * kValueError);
    EXPECT_NEAR(logfmt_decode(grid, bits, greatest(bits)), 0.75, 0.75 * kValueError);
    EXPECT_EQ(logfmt_encode(grid, bits, 0.75f), greatest(bits));
    EXPECT_EQ(logfmt_encode(grid, bits, -0x1p-11f), 1u | 1u << (bits - 1));
  }
}

TEST(LogFmt, EveryValueEncodesToItself) {
  for (const int bits : kBits) {
    const LogFmtGrid grid = typical_grid(bits);
    for (uint32_t code = 0; code < 1u << bits; ++code) {
      const uint32_t canonical = code == 1u << (bits - 1) ? 0 : code;  // there is no negative zero
      EXPECT_EQ(logfmt_encode(grid, bits, logfmt_decode(grid, bits, code)), canonical);
    }
  }
}

TEST(LogFmt, RoundsToTheNearestInLinearSpace) {
  for (const int bits : kBits) {
    const LogFmtGrid grid = typical_grid(bits);
    for (uint32_t code = 1; code < greatest(bits); ++code) {
      const double low = logfmt_decode(grid, bits, code),
                   high = logfmt_decode(grid, bits, code + 1);
      const double middle = (low + high) / 2, margin = 4 * kValueError * high;
      EXPECT_EQ(logfmt_encode(grid, bits, static_cast<float>(middle - margin)), code);
      EXPECT_EQ(logfmt_encode(grid, bits, static_cast<float>(middle + margin)), code + 1);
    }
  }
}

TEST(LogFmt, RoundingIsUnbiased) {
  // Uniform x: the mean of the decoded values is that of x, to the midpoint rule's error.
  for (const int bits : kBits) {
    const LogFmtGrid grid = logfmt_grid(bits, 1.0f, 0x1p-8f);
    double x_sum = 0, y_sum = 0;
    for (int i = 4096; i < 1 << 20; ++i) {
      const float x = std::ldexp(static_cast<float>(i), -20);
      x_sum += x, y_sum += logfmt_decode(grid, bits, logfmt_encode(grid, bits, x));
    }
    EXPECT_NEAR(y_sum / x_sum, 1, 1e-4);
  }
}

TEST(LogFmt, RangeEndsAt32Octaves) {
  const LogFmtGrid grid = logfmt_grid(10, 0.5f, 0);
  EXPECT_EQ(grid.min_log2, -33);
  EXPECT_EQ(logfmt_encode(grid, 10, 0x1p-60f), 0u);
  EXPECT_EQ(logfmt_encode(grid, 10, 0), 0u);
  EXPECT_EQ(logfmt_encode(grid, 10, 0x1p-33f), 1u);
}

TEST(LogFmt, EqualMagnitudesAndZerosSurvive) {
  const LogFmtGrid one = logfmt_grid(8, 0.3f, 0.3f);
  EXPECT_NEAR(logfmt_decode(one, 8, logfmt_encode(one, 8, -0.3f)), -0.3, 0.3 * kValueError);
  EXPECT_EQ(logfmt_decode(one, 8, logfmt_encode(one, 8, 0)), 0);
  const LogFmtGrid none = logfmt_grid(8, 0, 0);
  EXPECT_EQ(logfmt_decode(none, 8, logfmt_encode(none, 8, 0)), 0);
}

TEST(LogFmt, CastsOnlyWhatDeepEpCasts) {
  EXPECT_TRUE(logfmt_castable(0.99f, 0));
  EXPECT_FALSE(logfmt_castable(1, 0.5f));
  EXPECT_FALSE(logfmt_castable(0.5f, 0.5f));
  EXPECT_FALSE(logfmt_castable(0, 0));
}

TEST(LogFmt, PackingRoundTripsAndIsDeepEpsLayout) {
  std::vector<uint16_t> codes(16), again(16);
  std::vector<uint32_t> words(5);
  const std::span<const uint16_t, 16> in(codes.data(), 16);
  const std::span<uint32_t, 5> packed(words.data(), 5);
  const std::span<uint16_t, 16> out(again.data(), 16);
  for (uint32_t seed = 0; seed < 64; ++seed) {
    for (uint32_t i = 0; i < 16; ++i)
      codes[i] = static_cast<uint16_t>(((seed * 16 + i) * 2654435761u) >> 22);
    pack_logfmt10(in, packed);
    unpack_logfmt10(packed, out);
    EXPECT_EQ(codes, again);
  }
  codes.assign(16, 0);
  codes[3] = 0x1ff, codes[15] = 0x201;  // bits 27..35; bits 135..143 and the last sign
  pack_logfmt10(in, packed);
  EXPECT_EQ(words, (std::vector<uint32_t>{0xf8000000u, 0xfu, 0, 0, 0x80000080u}));
}

}  // namespace
}  // namespace fathom
