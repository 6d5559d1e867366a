#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

namespace fathom {

/// LogFMT-n ("Insights into DeepSeek-V3", section 3.2): groups of 128 values whose logarithms are
/// spread evenly between the least and greatest magnitude of the group. A code is a sign and n - 1
/// bits: 0 is zero, k >= 1 is 2^(min_log2 + step·(k − 1)). Rounding is to the nearest value in
/// linear space, which keeps it unbiased; formulas and packing are those of DeepEP's low-latency
/// combine (LogFMT-10), for any n.
inline constexpr int64_t kLogFmtGroup = 128;

/// The values of a group. min_log2 is at least max_log2 − 32, about the range of E5.
struct LogFmtGrid {
  float min_log2 = 0, step = 0;
  float offset = 0;  ///< added to (log2|x| − min_log2) / step before rounding down
};

/// From the greatest and least magnitude of the group, both BF16 in the packed format. amin = 0
/// stands for max_log2 − 32: DeepEP's sender counts zeros of the group, the paper does not.
inline LogFmtGrid logfmt_grid(int bits, float amax, float amin) {
  if (amax == 0) return {};
  const float max_log2 = std::log2(amax), min_log2 = std::max(std::log2(amin), max_log2 - 32);
  const float step = (max_log2 - min_log2) / static_cast<float>((1 << (bits - 1)) - 2);
  if (step == 0) return {min_log2, 0, 0};
  // Between the values k and k + 1 the boundary is their mean, value_k·(1 + 2^step) / 2.
  const float boundary = std::log2((1 + std::exp2(step)) / 2) / step;
  return {min_log2, step, 2 - boundary};
}

/// The code of x: the sign in bit `bits` − 1. Below the boundary under the least value, zero.
/// Magnitudes above the greatest, and NaN, are the caller's mistake.
inline uint32_t logfmt_encode(const LogFmtGrid& grid, int bits, float x) {
  if (x == 0) return 0;
  const uint32_t sign = std::signbit(x) ? 1u << (bits - 1) : 0;
  if (grid.step == 0) return sign | 1u;
  const float k = (std::log2(std::abs(x)) - grid.min_log2) / grid.step + grid.offset;
  const auto greatest = static_cast<float>((1 << (bits - 1)) - 1);
  const auto code = static_cast<uint32_t>(std::clamp(std::floor(k), 0.0f, greatest));
  return code == 0 ? 0 : sign | code;
}

inline float logfmt_decode(const LogFmtGrid& grid, int bits, uint32_t code) {
  const uint32_t k = code & ((1u << (bits - 1)) - 1);
  if (k == 0) return 0;
  const float magnitude = std::exp2(static_cast<float>(k - 1) * grid.step + grid.min_log2);
  return code >> (bits - 1) ? -magnitude : magnitude;
}

/// DeepEP casts a chunk to LogFMT-10 only if this holds for each of its groups, and sends it as
/// BF16 otherwise.
inline bool logfmt_castable(float amax, float amin) {
  const float max_log2 = std::log2(amax);
  return max_log2 < 0 && std::max(std::log2(amin), max_log2 - 32) < max_log2;
}

/// DeepEP's packing of 16 ten-bit codes in 160 bits: the 16 magnitudes of nine bits, the first in
/// the lowest bits of the first word, then the 16 signs, the first lowest.
constexpr void pack_logfmt10(std::span<const uint16_t, 16> codes, std::span<uint32_t, 5> words) {
  std::fill(words.begin(), words.end(), 0u);
  for (uint32_t i = 0; i < 16; ++i) {
    const uint32_t magnitude = codes[i] & 0x1ffu, bit = 9 * i;
    words[bit / 32] |= magnitude << (bit % 32);
    if (bit % 32 > 23) words[bit / 32 + 1] |= magnitude >> (32 - bit % 32);
    words[4] |= static_cast<uint32_t>(codes[i] >> 9) << (16 + i);
  }
}

constexpr void unpack_logfmt10(std::span<const uint32_t, 5> words, std::span<uint16_t, 16> codes) {
  for (uint32_t i = 0; i < 16; ++i) {
    const uint32_t bit = 9 * i, sign = (words[4] >> (16 + i)) & 1;
    uint32_t magnitude = words[bit / 32] >> (bit % 32);
    if (bit % 32 > 23) magnitude |= words[bit / 32 + 1] << (32 - bit % 32);
    codes[i] = static_cast<uint16_t>((magnitude & 0x1ffu) | sign << 9);
  }
}

}  // namespace fathom
