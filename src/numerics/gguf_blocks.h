#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>

#include "numerics/f16.h"
#include "numerics/storage_format.h"

namespace fathom {

/// Blocks of GGUF files as ggml defines them (ggml-quants): 32 elements share a scale, or 256 a
/// pair of scales and eight (sixteen) smaller groups six-bit (eight-bit) multiples of them. All
/// products below are exact in F32, so each value is rounded at most once.
namespace gguf {

inline float half_at(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return to_float(F16{bits});
}
inline void set_half(uint8_t* p, float x) {
  const F16 h = to_f16(x);
  std::memcpy(p, &h.bits, sizeof h.bits);
}

/// Q8_0: F16 d, 32 int8. x = d · q.
inline void decode_q8_0(const uint8_t* block, float* x) {
  const float d = half_at(block);
  for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

/// Q4_0: F16 d, 16 bytes: elements i in the low and i + 16 in the high nibbles. x = d · (q − 8).
inline void decode_q4_0(const uint8_t* block, float* x) {
  const float d = half_at(block);
  for (int i = 0; i < 16; ++i) {
    x[i] = d * static_cast<float>((block[2 + i] & 15) - 8);
    x[i + 16] = d * static_cast<float>((block[2 + i] >> 4) - 8);
  }
}

/// The six-bit scale and minimum of group j of eight, from the 12 bytes that hold them.
struct ScaleMin {
  int scale, min;
};
constexpr ScaleMin scale_min(const uint8_t* s, int j) {
  if (j < 4) return {s[j] & 63, s[j + 4] & 63};
  return {(s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4};
}

/// Q4_K: F16 d and dmin, 12 bytes of scales, 128 bytes: each 32 of them hold a group in the low and
/// the next in the high nibbles. x = (d · scale) · q − dmin · min.
inline void decode_q4_k(const uint8_t* block, float* x) {
  const float d = half_at(block), dmin = half_at(block + 2);
  for (int j = 0; j < 8; ++j) {
    const ScaleMin s = scale_min(block + 4, j);
    const float scale = d * static_cast<float>(s.scale), min = dmin * static_cast<float>(s.min);
    const uint8_t* q = block + 16 + j / 2 * 32;
    for (int i = 0; i < 32; ++i)
      x[32 * j + i] = scale * static_cast<float>(j % 2 ? q[i] >> 4 : q[i] & 15) - min;
  }
}

/// Q5_K: as Q4_K, with 32 bytes before the nibbles: bit j of byte i is the fifth of element i of
/// group j.
inline void decode_q5_k(const uint8_t* block, float* x) {
  const float d = half_at(block), dmin = half_at(block + 2);
  const uint8_t* fifth = block + 16;
  for (int j = 0; j < 8; ++j) {
    const ScaleMin s = scale_min(block + 4, j);
    const float scale = d * static_cast<float>(s.scale), min = dmin * static_cast<float>(s.min);
    const uint8_t* q = block + 48 + j / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      const int low = j % 2 ? q[i] >> 4 : q[i] & 15;
      x[32 * j + i] = scale * static_cast<float>(low | ((fifth[i] >> j) & 1) << 4) - min;
    }
  }
}

/// Q6_K: 128 bytes of low nibbles, 64 of upper pairs of bits, 16 int8 scales of 16 elements, F16 d.
/// Each half of 128 elements has 64 and 32 of them: element 32·j + i its low bits in nibble j / 2
/// of byte 32·(j % 2) + i, its upper ones in pair j of byte i. x = (d · scale) · (q − 32).
inline void decode_q6_k(const uint8_t* block, float* x) {
  const float d = half_at(block + 208);
  for (int e = 0; e < 256; ++e) {
    const int half = e / 128, j = e % 128 / 32, i = e % 32;
    const uint8_t low = block[64 * half + 32 * (j % 2) + i], high = block[128 + 32 * half + i];
    const int q = (j / 2 ? low >> 4 : low & 15) | ((high >> (2 * j)) & 3) << 4;
    const auto scale = static_cast<float>(static_cast<int8_t>(block[192 + e / 16]));
    x[e] = d * scale * static_cast<float>(q - 32);
  }
}

/// As ggml's reference: d = amax / 127 (rounded to F16 for storage alone), q = x / d to nearest,
/// ties away from zero.
inline void encode_q8_0(const float* x, uint8_t* block) {
  float amax = 0;
  for (int i = 0; i < 32; ++i) amax = std::max(amax, std::abs(x[i]));
  const float d = amax / 127, inverse = d != 0 ? 1 / d : 0;
  set_half(block, d);
  for (int i = 0; i < 32; ++i)
    block[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::round(x[i] * inverse)));
}

/// As ggml's reference: the value of greatest magnitude becomes code 0, −8 · d.
inline void encode_q4_0(const float* x, uint8_t* block) {
  float extreme = 0;
  for (int i = 0; i < 32; ++i)
    if (std::abs(x[i]) > std::abs(extreme)) extreme = x[i];
  const float d = extreme / -8, inverse = d != 0 ? 1 / d : 0;
  set_half(block, d);
  const auto code = [&](float v) {
    const float scaled = v * inverse;  // rounded before the addition, as the reference
    return static_cast<uint8_t>(std::clamp(static_cast<int>(scaled + 8.5f), 0, 15));
  };
  for (int i = 0; i < 16; ++i)
    block[2 + i] = static_cast<uint8_t>(code(x[i]) | code(x[i + 16]) << 4);
}

/// One block of a format that is_gguf_block; x has info_of(format).block elements.
inline void decode_block(StorageFormat format, const uint8_t* block, float* x) {
  switch (format) {
    case StorageFormat::kQ8_0:
      return decode_q8_0(block, x);
    case StorageFormat::kQ4_0:
      return decode_q4_0(block, x);
    case StorageFormat::kQ4_K:
      return decode_q4_k(block, x);
    case StorageFormat::kQ5_K:
      return decode_q5_k(block, x);
    default:
      return decode_q6_k(block, x);
  }
}

}  // namespace gguf
}  // namespace fathom
