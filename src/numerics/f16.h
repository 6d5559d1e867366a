#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "numerics/small_float.h"

namespace fathom {

/// IEEE 754 binary16: 1 sign, 5 exponent (bias 15) and 10 mantissa bits; largest finite 65504.
/// Every value is exactly an F32. Rounded to BF16, which has 8 significant bits, it loses three of
/// its 11; none overflows or becomes subnormal.
struct F16 {
  uint16_t bits;
};

constexpr float to_float(F16 x) {
  const uint32_t sign = uint32_t{x.bits & 0x8000u} << 16, magnitude = x.bits & 0x7fffu;
  if (magnitude >= 0x7c00)
    return std::bit_cast<float>(sign | 0x7f800000u | (magnitude & 0x3ff) << 13);
  return std::bit_cast<float>(sign |
                              std::bit_cast<uint32_t>(small_float_magnitude<10, 15>(magnitude)));
}

/// Round to nearest, ties to even; overflow goes to infinity; NaN stays NaN (made quiet).
constexpr F16 to_f16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x), sign = (u >> 16) & 0x8000u;
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
  return {static_cast<uint16_t>(sign | std::min(round_to_small_float<10, 15>(x), 0x7c00u))};
}

}  // namespace fathom
