#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "numerics/small_float.h"

namespace fathom {

/// The 12-bit float of DeepSeek-V3 for the cached input of o_proj (report section 3.3.3): 1 sign, 5
/// exponent (bias 15) and 6 mantissa bits. The report gives no further rules; here it is the upper
/// 12 bits of a binary16, so subnormals, infinity and NaN are IEEE 754's, and every value is
/// exactly a BF16. Largest finite 65024. The code is in the low 12 bits.
struct E5M6 {
  uint16_t bits;
};

inline constexpr float kE5M6Max = 65024;

constexpr float to_float(E5M6 x) {
  const uint32_t sign = uint32_t{x.bits & 0x800u} << 20, magnitude = x.bits & 0x7ffu;
  if (magnitude > 0x7c0) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (magnitude == 0x7c0) return std::bit_cast<float>(sign | 0x7f800000u);
  const float value = small_float_magnitude<6, 15>(magnitude);
  return sign ? -value : value;
}

/// Round to nearest, ties to even; what rounds above 65024 becomes infinity; NaN stays NaN (all
/// ones but the sign).
constexpr E5M6 to_e5m6_or_inf(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x), sign = (u >> 20) & 0x800u;
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7ffu)};
  return {static_cast<uint16_t>(sign | std::min(round_to_small_float<6, 15>(x), 0x7c0u))};
}

/// The same, but what lies beyond ±65024 becomes ±65024, infinity included: what quantization uses.
constexpr E5M6 to_e5m6(float x) {
  return to_e5m6_or_inf(x > kE5M6Max ? kE5M6Max : x < -kE5M6Max ? -kE5M6Max : x);
}

}  // namespace fathom
