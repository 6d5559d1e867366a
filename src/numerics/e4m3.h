#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "numerics/small_float.h"

namespace fathom {

/// FP8 E4M3 as OCP and PyTorch define it (float8_e4m3fn): 1 sign, 4 exponent (bias 7) and 3
/// mantissa bits, subnormals, no infinity, NaN only where all other bits are set; largest 448.
/// These are the scalar definitions; kernels convert whole vectors and are tested against them.
struct E4M3 {
  uint8_t bits;
};

inline constexpr float kE4M3Max = 448;
/// The least amax that a tile's scale, amax / 448, is made of: keeps the scale and its inverse
/// normal. (Released inference code has 1e-4 here, which would flush small gradients to zero.)
inline constexpr float kE4M3LeastAmax = kE4M3Max * 0x1p-120f;

constexpr float to_float(E4M3 x) {
  const bool negative = x.bits & 0x80u;
  const uint32_t magnitude = x.bits & 0x7fu;
  if (magnitude == 0x7f) return std::bit_cast<float>(negative ? 0xffc00000u : 0x7fc00000u);
  const float value = small_float_magnitude<3, 7>(magnitude);
  return negative ? -value : value;
}

/// Round to nearest, ties to even; what rounds above 448 becomes NaN, as do infinity and NaN (with
/// their sign). ml_dtypes' conversion.
constexpr E4M3 to_e4m3_or_nan(float x) {
  const uint32_t sign = (std::bit_cast<uint32_t>(x) >> 24) & 0x80u;
  return {static_cast<uint8_t>(sign | std::min(round_to_small_float<3, 7>(x), 0x7fu))};
}

/// The same, but what lies beyond ±448 becomes ±448, infinity included; NaN stays NaN. What
/// quantization uses, and PyTorch's conversion.
constexpr E4M3 to_e4m3(float x) {
  return to_e4m3_or_nan(x > kE4M3Max ? kE4M3Max : x < -kE4M3Max ? -kE4M3Max : x);
}

}  // namespace fathom
