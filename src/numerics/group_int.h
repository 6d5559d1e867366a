#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

namespace fathom {

/// Group-wise integers of 4 or 8 bits: a group of elements of a row shares a scale and perhaps a
/// zero point, value = scale · (q − zero), in F32, rounded once. q and zero lie in
/// [−2^(bits−1), 2^(bits−1) − 1]; a symmetric group's zero is 0. The rules are those of
/// compressed-tensors, whose minmax observer and fake quantization these are.
struct IntGroup {
  float scale = 1;
  int zero = 0;
};

constexpr int int_min(int bits) {
  return -(1 << (bits - 1));
}
constexpr int int_max(int bits) {
  return (1 << (bits - 1)) - 1;
}

constexpr float decode_int(IntGroup group, int q) {
  return group.scale * static_cast<float>(q - group.zero);
}

/// The nearest code, ties to even, limited to the range of `bits`. NaN becomes zero's code.
inline int encode_int(IntGroup group, int bits, float x) {
  const float code = std::nearbyint(x / group.scale) + static_cast<float>(group.zero);
  if (std::isnan(code)) return group.zero;
  return static_cast<int>(
      std::clamp(code, static_cast<float>(int_min(bits)), static_cast<float>(int_max(bits))));
}

/// The scale of a group, and its zero point unless symmetric, from its least and greatest value:
/// symmetric, amax / ((2^bits − 1) / 2); else (max − min) / (2^bits − 1), zero being in the range
/// whatever the values. Round the scale to its storage type before encoding with it. A group of
/// zeros gets the smallest positive scale, so that codes are zero.
inline IntGroup int_group_of(std::span<const float> x, int bits, bool symmetric) {
  float low = 0, high = 0;
  for (const float v : x) low = std::min(low, v), high = std::max(high, v);
  const auto steps = static_cast<float>((1 << bits) - 1);
  IntGroup group;
  group.scale = symmetric ? std::max(-low, high) / (steps / 2) : (high - low) / steps;
  if (group.scale == 0) group.scale = std::numeric_limits<float>::epsilon();
  if (symmetric) return group;
  const float zero = std::nearbyint(static_cast<float>(int_min(bits)) - low / group.scale);
  group.zero = static_cast<int>(
      std::clamp(zero, static_cast<float>(int_min(bits)), static_cast<float>(int_max(bits))));
  return group;
}

/// Codes as compressed-tensors packs them in 32-bit words: q + 2^(bits−1), the first lowest.
constexpr void set_packed_int(uint32_t& word, int bits, int64_t i, int q) {
  const auto per_word = 32 / bits;
  const int shift = static_cast<int>(i % per_word) * bits;
  const uint32_t mask = (1u << bits) - 1, code = static_cast<uint32_t>(q - int_min(bits)) & mask;
  word = (word & ~(mask << shift)) | code << shift;
}
constexpr int packed_int(uint32_t word, int bits, int64_t i) {
  const int shift = static_cast<int>(i % (32 / bits)) * bits;
  return static_cast<int>((word >> shift) & ((1u << bits) - 1)) + int_min(bits);
}

/// AutoAWQ's order of the eight 4-bit codes of a word: nibble i holds element kAwqOrder[i]. Codes
/// there are not offset: 0 to 15, zero points likewise.
inline constexpr int kAwqOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};
/// The code of element i (0 to 7) of a word, offset as above: −8 to 7.
constexpr int awq_int(uint32_t word, int64_t i) {
  const int64_t nibble = i % 2 * 4 + i / 2;
  return static_cast<int>((word >> (4 * nibble)) & 15u) - 8;
}

}  // namespace fathom
