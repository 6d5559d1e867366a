#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/cpu.h"
#include "kernels/cpu/ops_table.h"
#include "numerics/bf16.h"
#include "numerics/e4m3.h"

// The vector conversions of the active instruction set against the scalar definitions.

namespace fathom {
namespace {

const kernels::cpu::QuantizeOps& ops() {
  return kernels::cpu::ops_table(active_isa()).quantize;
}

/// Every code, at every position within a vector and every length of a tail.
std::vector<E4M3> every_code() {
  std::vector<E4M3> codes;
  for (int i = 0; i < 256 + 255; ++i) codes.push_back({static_cast<uint8_t>(i * 37)});
  return codes;
}

const float kScales[] = {1, 0x1p-12f, 0.0123f, 3.7e5f, -2.5f, 1e-30f, 1e30f, 0};

bool same(float a, float b) {
  return std::isnan(a) ? std::isnan(b) : std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

TEST(VecE4M3, DecodesEveryCodeTimesTheScale) {
  const std::vector<E4M3> codes = every_code();
  for (const float scale : kScales)
    for (size_t begin = 0; begin < 255; begin += 17) {
      const size_t n = codes.size() - begin;
      std::vector<float> y(n + 1, -77);
      ops().decode(codes.data() + begin, scale, y.data(), static_cast<int64_t>(n));
      for (size_t i = 0; i < n; ++i)
        ASSERT_TRUE(same(y[i], to_float(codes[begin + i]) * scale))
            << int{codes[begin + i].bits} << " · " << scale << " = " << y[i];
      EXPECT_EQ(y[n], -77);
    }
}

TEST(VecE4M3, DecodesToBf16RoundedOnce) {
  const std::vector<E4M3> codes = every_code();
  for (const float scale : kScales)
    for (size_t begin = 0; begin < 255; begin += 17) {
      const size_t n = codes.size() - begin;
      std::vector<BF16> y(n + 1, BF16{0x4242});
      ops().decode_bf16(codes.data() + begin, scale, y.data(), static_cast<int64_t>(n));
      for (size_t i = 0; i < n; ++i)
        ASSERT_TRUE(same(to_float(y[i]), to_float(to_bf16(to_float(codes[begin + i]) * scale))))
            << int{codes[begin + i].bits} << " · " << scale << " = " << to_float(y[i]);
      EXPECT_EQ(y[n].bits, 0x4242);
    }
}

/// Every BF16; every tie between neighbouring codes and the floats on either side of it; the
/// values themselves with their neighbours.
std::vector<float> telling_values() {
  std::vector<float> x;
  for (uint32_t i = 0; i < 0x10000; ++i) x.push_back(to_float(BF16{static_cast<uint16_t>(i)}));
  const float inf = std::numeric_limits<float>::infinity();
  for (uint32_t i = 0; i < 0x7f; ++i) {
    const float value = to_float(E4M3{static_cast<uint8_t>(i)});
    const float next = i == 0x7e ? 480 : to_float(E4M3{static_cast<uint8_t>(i + 1)});
    for (const float v : {value, (value + next) / 2})
      for (const float sign : {1.0f, -1.0f})
        for (const float w : {std::nextafter(v, -inf), v, std::nextafter(v, inf)})
          x.push_back(sign * w);
  }
  for (const float v : {std::nextafter(480.0f, 0.0f), 480.0f, 1e38f, inf, 0x1p-149f, 0x1p-10f})
    x.insert(x.end(), {v, -v});
  return x;
}

TEST(VecE4M3, EncodesAsTheScalarDefinition) {
  const std::vector<float> x = telling_values();
  std::vector<E4M3> codes(x.size() + 1);
  for (const bool saturate : {true, false}) {
    codes.back() = {0x42};
    ops().encode(x.data(), codes.data(), saturate, static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const E4M3 expected = saturate ? to_e4m3(x[i]) : to_e4m3_or_nan(x[i]);
      ASSERT_EQ(int{codes[i].bits}, int{expected.bits}) << x[i] << " saturating: " << saturate;
    }
    EXPECT_EQ(codes.back().bits, 0x42);
  }
}

TEST(VecE4M3, EncodingWhatWasDecodedGivesTheCode) {
  std::vector<E4M3> codes = every_code(), again(codes.size());
  std::vector<float> y(codes.size());
  ops().decode(codes.data(), 1, y.data(), static_cast<int64_t>(codes.size()));
  ops().encode(y.data(), again.data(), true, static_cast<int64_t>(codes.size()));
  for (size_t i = 0; i < codes.size(); ++i) EXPECT_EQ(codes[i].bits, again[i].bits);
}

}  // namespace
}  // namespace fathom
