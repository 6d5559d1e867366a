#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace fathom {

/// |x| as a code of a format with kMantissa mantissa bits (exponent above them, subnormals below
/// 2^(1 − kBias)), rounded to nearest, ties to even, and not limited above: overflow, infinity and
/// NaN give codes greater than every finite one of the format, and it decides what they become.
template <int kMantissa, int kBias>
constexpr uint32_t round_to_small_float(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x) & 0x7fffffffu;
  const int exponent = std::max(static_cast<int>(u >> 23), 1);  // biased by 127
  const int smallest_normal = 128 - kBias;
  const uint32_t significand = u >> 23 ? (u & 0x7fffffu) | 0x800000u : u;
  const int dropped = 23 - kMantissa + std::max(smallest_normal - exponent, 0);
  if (dropped > 25) return 0;  // less than half of the smallest subnormal
  const uint32_t half_minus_one = (1u << (dropped - 1)) - 1;
  const uint32_t rounded =
      (significand + half_minus_one + ((significand >> dropped) & 1)) >> dropped;
  // The significand's leading bit adds one to the exponent field; so does a carry.
  const int field = std::max(exponent - smallest_normal, 0);
  return (static_cast<uint32_t>(field) << kMantissa) + rounded;
}

/// The value of a finite code of such a format, without its sign.
template <int kMantissa, int kBias>
constexpr float small_float_magnitude(uint32_t code) {
  const uint32_t exponent = code >> kMantissa;
  const auto mantissa = static_cast<float>(code & ((1u << kMantissa) - 1));
  const auto power = [](int e) {
    return std::bit_cast<float>(static_cast<uint32_t>(e + 127) << 23);
  };
  if (exponent == 0) return mantissa * power(1 - kBias - kMantissa);
  const float significand = mantissa + static_cast<float>(1u << kMantissa);
  return significand * power(static_cast<int>(exponent) - kBias - kMantissa);
}

}  // namespace fathom
