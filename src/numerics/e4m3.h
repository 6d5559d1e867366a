#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace fathom {

/// FP8 E4M3 as OCP and PyTorch define it (float8_e4m3fn): 1 sign, 4 exponent (bias 7) and 3
/// mantissa bits, subnormals, no infinity, NaN only where all other bits are set; largest 448.
/// These are the scalar definitions; kernels convert whole vectors and are tested against them.
struct E4M3 {
  uint8_t bits;
};

inline constexpr float kE4M3Max = 448;

constexpr float to_float(E4M3 x) {
  const uint32_t sign = uint32_t{x.bits & 0x80u} << 24;
  const uint32_t exponent = (x.bits >> 3) & 15u, mantissa = x.bits & 7u;
  if (exponent == 15 && mantissa == 7) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-9f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 120) << 23) | (mantissa << 20));
}

}  // namespace fathom
