#pragma once

#include <bit>
#include <cstdint>

namespace fathom {

/// A power of two as its exponent (OCP MX's E8M0, PyTorch's float8_e8m0fnu): 2^(bits − 127), no
/// sign, no zero; 255 is NaN.
struct UE8M0 {
  uint8_t bits;
};

constexpr float to_float(UE8M0 x) {
  if (x.bits == 255) return std::bit_cast<float>(0x7fc00000u);
  if (x.bits == 0) return 0x1p-127f;
  return std::bit_cast<float>(uint32_t{x.bits} << 23);
}

/// The least power of two that is not below x >= 0: what a scale needs so that nothing overflows.
/// What lies below 2^-127, zero included, becomes 2^-127; beyond 2^127, infinite, NaN or negative
/// becomes NaN.
constexpr UE8M0 to_ue8m0_up(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  if (u > 0x7f000000u) return {255};
  if (u <= 0x00400000u) return {0};
  return {static_cast<uint8_t>((u + 0x7fffffu) >> 23)};
}

}  // namespace fathom
