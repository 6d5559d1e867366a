#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "numerics/small_float.h"

namespace fathom {

/// FP8 E5M2 as OCP and PyTorch define it (float8_e5m2): 1 sign, 5 exponent (bias 15) and 2 mantissa
/// bits, subnormals, infinity and NaN as in IEEE 754; largest finite 57344. The upper byte of a
/// binary16.
struct E5M2 {
  uint8_t bits;
};

inline constexpr float kE5M2Max = 57344;

constexpr float to_float(E5M2 x) {
  const uint32_t sign = uint32_t{x.bits & 0x80u} << 24, magnitude = x.bits & 0x7fu;
  if (magnitude > 0x7c) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (magnitude == 0x7c) return std::bit_cast<float>(sign | 0x7f800000u);
  const float value = small_float_magnitude<2, 15>(magnitude);
  return sign ? -value : value;
}

/// Round to nearest, ties to even; what rounds above 57344 becomes infinity; NaN stays NaN (code
/// 0x7f, with its sign): PyTorch's conversion.
constexpr E5M2 to_e5m2_or_inf(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x), sign = (u >> 24) & 0x80u;
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint8_t>(sign | 0x7fu)};
  return {static_cast<uint8_t>(sign | std::min(round_to_small_float<2, 15>(x), 0x7cu))};
}

/// The same, but what lies beyond ±57344 becomes ±57344, infinity included: what quantization uses.
constexpr E5M2 to_e5m2(float x) {
  return to_e5m2_or_inf(x > kE5M2Max ? kE5M2Max : x < -kE5M2Max ? -kE5M2Max : x);
}

}  // namespace fathom
