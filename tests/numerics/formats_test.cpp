#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "numerics/bf16.h"
#include "numerics/e4m3.h"
#include "numerics/e5m2.h"
#include "numerics/e5m6.h"
#include "numerics/ue8m0.h"

// Every code, every tie and the floats beside it, against the meaning of "nearest, ties to even".

namespace fathom {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

template <class T>
uint32_t bits_of(T x) {
  return x.bits;
}

/// A floating-point format: its finite magnitudes are the codes below `overflow`.
struct Format {
  std::function<float(uint32_t)> decode;
  std::function<uint32_t(float)> encode, saturate;
  uint32_t sign, overflow;  ///< the sign bit; what rounds above the greatest finite value
  float max, next;          ///< the greatest finite value, and what would follow it
};

template <class T>
Format format_of(uint32_t sign, uint32_t overflow, T (*encode)(float), T (*saturate)(float)) {
  Format f;
  f.decode = [](uint32_t code) {
    T x{};
    x.bits = static_cast<decltype(x.bits)>(code);
    return to_float(x);
  };
  f.encode = [encode](float x) { return bits_of(encode(x)); };
  f.saturate = [saturate](float x) { return bits_of(saturate(x)); };
  f.sign = sign, f.overflow = overflow;
  f.max = f.decode(overflow - 1);
  f.next = f.max + (f.max - f.decode(overflow - 2));
  return f;
}

std::vector<Format> formats() {
  return {format_of<E4M3>(0x80, 0x7f, to_e4m3_or_nan, to_e4m3),
          format_of<E5M2>(0x80, 0x7c, to_e5m2_or_inf, to_e5m2),
          format_of<E5M6>(0x800, 0x7c0, to_e5m6_or_inf, to_e5m6)};
}

TEST(SmallFloats, MagnitudesAscendAndSignsMirrorThem) {
  for (const Format& f : formats())
    for (uint32_t code = 0; code + 1 < f.overflow; ++code) {
      EXPECT_LT(f.decode(code), f.decode(code + 1));
      EXPECT_EQ(f.decode(code | f.sign), -f.decode(code));
    }
}

TEST(SmallFloats, GreatestAndLeastValuesAreTheFormats) {
  EXPECT_EQ(to_float(E4M3{0x7e}), kE4M3Max);
  EXPECT_EQ(to_float(E4M3{1}), 0x1p-9f);
  EXPECT_EQ(to_float(E4M3{8}), 0x1p-6f);
  EXPECT_EQ(to_float(E5M2{0x7b}), kE5M2Max);
  EXPECT_EQ(to_float(E5M2{1}), 0x1p-16f);
  EXPECT_EQ(to_float(E5M6{0x7bf}), kE5M6Max);
  EXPECT_EQ(to_float(E5M6{1}), 0x1p-20f);
  EXPECT_EQ(to_float(E5M6{0x400}), 2.0f);
}

TEST(SmallFloats, EveryValueEncodesToItself) {
  for (const Format& f : formats())
    for (uint32_t code = 0; code < f.overflow; ++code)
      for (const uint32_t signed_code : {code, code | f.sign}) {
        EXPECT_EQ(f.encode(f.decode(signed_code)), signed_code);
        EXPECT_EQ(f.saturate(f.decode(signed_code)), signed_code);
      }
}

TEST(SmallFloats, TiesGoToEvenAndTheirNeighboursToTheNearest) {
  for (const Format& f : formats())
    for (uint32_t code = 0; code < f.overflow; ++code) {
      const float next = code + 1 == f.overflow ? f.next : f.decode(code + 1);
      const float tie = (f.decode(code) + next) / 2;
      EXPECT_EQ(f.encode(tie), code + code % 2);
      EXPECT_EQ(f.encode(std::nextafter(tie, 0.0f)), code);
      EXPECT_EQ(f.encode(std::nextafter(tie, kInf)), code + 1);
      EXPECT_EQ(f.encode(-tie), f.sign | (code + code % 2));
    }
}

TEST(SmallFloats, OverflowSaturatesOrIsMarked) {
  for (const Format& f : formats()) {
    for (const float x : {f.next, 2 * f.max, 1e38f, kInf}) {
      EXPECT_EQ(f.encode(x), f.overflow);
      EXPECT_EQ(f.encode(-x), f.overflow | f.sign);
      EXPECT_EQ(f.saturate(x), f.overflow - 1);
      EXPECT_EQ(f.saturate(-x), (f.overflow - 1) | f.sign);
    }
    EXPECT_EQ(f.saturate((f.max + f.next) / 2), f.overflow - 1);
  }
}

TEST(SmallFloats, NanStaysNanAndUnderflowKeepsItsSign) {
  for (const Format& f : formats()) {
    for (const float nan : {std::bit_cast<float>(0x7fc00000u), std::bit_cast<float>(0xffffffffu),
                            std::bit_cast<float>(0x7f800001u)}) {
      EXPECT_TRUE(std::isnan(f.decode(f.encode(nan))));
      EXPECT_TRUE(std::isnan(f.decode(f.saturate(nan))));
    }
    for (const float tiny : {0.0f, 0x1p-149f, 0x1p-126f, f.decode(1) * 0.49f}) {
      EXPECT_EQ(f.encode(tiny), 0u);
      EXPECT_EQ(f.encode(-tiny), f.sign);
    }
  }
}

TEST(SmallFloats, OnlyTheCodesSaidToBeNanOrInfinityAre) {
  for (uint32_t i = 0; i < 256; ++i) {
    const E4M3 a{static_cast<uint8_t>(i)};
    const E5M2 b{static_cast<uint8_t>(i)};
    EXPECT_EQ(std::isfinite(to_float(a)), (i & 0x7f) != 0x7f);
    EXPECT_EQ(std::isinf(to_float(b)), (i & 0x7f) == 0x7c);
    EXPECT_EQ(std::isnan(to_float(b)), (i & 0x7f) > 0x7c);
  }
  for (uint32_t i = 0; i < 4096; ++i) {
    const E5M6 c{static_cast<uint16_t>(i)};
    EXPECT_EQ(std::isinf(to_float(c)), (i & 0x7ff) == 0x7c0);
    EXPECT_EQ(std::isnan(to_float(c)), (i & 0x7ff) > 0x7c0);
  }
}

TEST(SmallFloats, ConvertAtCompileTime) {
  static_assert(to_e4m3(1000).bits == 0x7e && to_e4m3_or_nan(1000).bits == 0x7f);
  static_assert(to_e5m2(-1.0f).bits == 0xbc && to_e5m6(-1.0f).bits == 0xbc0);
  static_assert(to_float(to_ue8m0_up(3.0f)) == 4);
}

TEST(E5M6, EveryValueIsExactlyABf16) {
  for (uint32_t i = 0; i < 0x7c0; ++i) {
    const float value = to_float(E5M6{static_cast<uint16_t>(i)});
    EXPECT_EQ(to_float(to_bf16(value)), value);
  }
}

TEST(UE8M0, EveryPowerRoundTripsAndScalesRoundUp) {
  for (int e = 0; e < 255; ++e) {
    const float power = std::ldexp(1.0f, e - 127);
    EXPECT_EQ(to_float(UE8M0{static_cast<uint8_t>(e)}), power);
    EXPECT_EQ(to_ue8m0_up(power).bits, e);
    EXPECT_EQ(to_ue8m0_up(std::nextafter(power, kInf)).bits, e + 1);
    EXPECT_EQ(to_ue8m0_up(std::nextafter(power, 0.0f)).bits, e);
  }
}

TEST(UE8M0, WhatItCannotHoldIsNanOrTheLeastPower) {
  EXPECT_EQ(to_ue8m0_up(0).bits, 0);
  EXPECT_EQ(to_ue8m0_up(0x1p-149f).bits, 0);
  for (const float x : {kInf, std::nanf(""), -1.0f, std::nextafter(0x1p127f, kInf)})
    EXPECT_TRUE(std::isnan(to_float(to_ue8m0_up(x)))) << x;
}

}  // namespace
}  // namespace fathom
