#pragma once

#include <bit>
#include <cstdint>

namespace fathom {

/// bfloat16: the upper half of an IEEE binary32. These are the scalar definitions; kernels convert
/// whole vectors and are tested against them.
struct BF16 {
  uint16_t bits;
};

constexpr float to_float(BF16 x) {
  return std::bit_cast<float>(uint32_t{x.bits} << 16);
}

/// Round to nearest, ties to even; overflow goes to infinity; NaN stays NaN (made quiet).
constexpr BF16 to_bf16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40)};
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1)) >> 16)};
}

}  // namespace fathom
