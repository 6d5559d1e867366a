#pragma once

// Rows of the latent cache as the products want them, and their quantization. For files compiled
// once per instruction set.

#include <algorithm>
#include <bit>
#include <type_traits>

#include "kernels/cpu/attention_latent_unit.h"
#include "kernels/cpu/vec_e4m3.h"
#include "kernels/latent_cache.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

/// Two BF16 a lane times a power of two, given as what it adds to their bits; zeros stay zero.
/// Results must be normal numbers.
inline VecW times_power(VecW words, VecW power) {
#if defined(__AVX512BW__)
  const __m512i w = bit_cast_vec<__m512i>(words);
  const __mmask32 nonzero = _mm512_test_epi16_mask(w, _mm512_set1_epi16(0x7fff));
  return bit_cast_vec<VecW>(_mm512_mask_add_epi16(w, nonzero, w, bit_cast_vec<__m512i>(power)));
#else
  return (words & 0x7fff) != 0 ? words + power : words;
#endif
}

/// `count` values from codes of one group.
inline void decode_group(const std::byte* codes, float scale, const E4M3ToBF16&, int64_t count,
                         float* to) {
  const VecF factor = decode_factor(scale);
  for_vectors(count, [&](int64_t i, auto part) {
    store(to + i, decode_e4m3(load_bits<VecQ>(codes + i, part), factor), part);
  });
}
/// Prefetched while decoding: some eight rows.
constexpr int64_t kAheadBytes = 5120;

struct DecodedWords {
  VecW part[2];
};
inline DecodedWords decode_scaled(VecB codes, VecW power, const E4M3ToBF16& unscaled) {
  const TwoVecW words = decode_words(codes, unscaled);
  return {{times_power(words.first, power), times_power(words.second, power)}};
}
[[gnu::noinline]] inline void decode_tail(const std::byte* codes, VecW power,
                                          const E4M3ToBF16& unscaled, int64_t count, BF16* to) {
  VecB tail = {};
  __builtin_memcpy(&tail, codes, static_cast<size_t>(count));
  const auto words = decode_scaled(tail, power, unscaled);
  __builtin_memcpy(to, &words, static_cast<size_t>(count) * sizeof(BF16));
}
/// `unscaled` decodes with a scale of one: powers of two are added to exponents.
inline void decode_group(const std::byte* codes, float scale, const E4M3ToBF16& unscaled,
                         int64_t count, BF16* to) {
  const VecU bits = VecU{} + std::bit_cast<uint32_t>(scale);
  const VecW power = bit_cast_vec<VecW>(bits | (bits >> 16)) - 0x3f80;  // BF16 less that of 1
  constexpr int64_t kCodes = kVectorBytes;
  int64_t i = 0;
  for (; i + kCodes <= count; i += kCodes) {
    __builtin_prefetch(codes + i + kAheadBytes);
    const auto words = decode_scaled(load_bits<VecB>(codes + i, Full{}), power, unscaled);
    __builtin_memcpy(to + i, &words.part[0], sizeof(VecW));
    __builtin_memcpy(to + i + kCodes / 2, &words.part[1], sizeof(VecW));
  }
  if (i < count) decode_tail(codes + i, power, unscaled, count - i, to + i);
}

template <class T>
void decode_latent(const LatentRowLayout& layout, const std::byte* row, const E4M3ToBF16& unscaled,
                   T* to) {
  const std::byte* scales = row + layout.scales_offset();
  for (int64_t i = 0; i < layout.latent; i += LatentRowLayout::kGroup, scales += sizeof(float)) {
    const int64_t n = std::min(LatentRowLayout::kGroup, layout.latent - i);
    float scale;
    __builtin_memcpy(&scale, scales, sizeof scale);
    if ((std::bit_cast<uint32_t>(scale) & 0x7f800000u) == 0x7f800000u)
      for_vectors(n, [&](int64_t j, auto part) { store(to + i + j, splat(scale), part); });
    else
      decode_group(row + i, scale, unscaled, n, to + i);
  }
}

template <class T>
inline void store_same(T* to, const T* from, Full) {
  __builtin_memcpy(to, from, kLanes * sizeof(T));
}
template <class T>
inline void store_same(T* to, const T* from, Tail part) {
  __builtin_memcpy(to, from, static_cast<size_t>(part.count) * sizeof(T));
}
template <class From, class T>
inline void copy_values(const std::byte* from, int64_t count, T* to) {
  const auto* x = reinterpret_cast<const From*>(from);
  for_vectors(count, [&](int64_t i, auto part) {
    if constexpr (std::is_same_v<From, T>)  // a vector of F32, or half a one of BF16
      store_same(to + i, x + i, part);
    else
      store(to + i, load(x + i, part), part);
  });
}

/// Rows of T, padded with zeros to `latent_step` and `rope_step`.
template <class T, int64_t kLatentStep, int64_t kRopeStep>
void load_rows(const LatentRowLayout& layout, const std::byte* rows, int64_t row_stride,
               int64_t count, std::byte* to_bytes) {
  const int64_t C = layout.latent, R = layout.rope;
  const int64_t C_padded = (C + kLatentStep - 1) / kLatentStep * kLatentStep;
  const int64_t R_padded = (R + kRopeStep - 1) / kRopeStep * kRopeStep;
  const E4M3ToBF16 unscaled = e4m3_to_bf16(1);
  auto* to = reinterpret_cast<T*>(to_bytes);
  const int64_t rope_offset = layout.rope_offset();
  for (int64_t r = 0; r < count; ++r, rows += row_stride, to += C_padded + R_padded) {
    const std::byte* rope = rows + rope_offset;
    switch (layout.format) {
      case LatentCacheFormat::kF32:
        copy_values<float>(rows, C, to);
        copy_values<float>(rope, R, to + C_padded);
        break;
      case LatentCacheFormat::kBF16:
        copy_values<BF16>(rows, C, to);
        copy_values<BF16>(rope, R, to + C_padded);
        break;
      case LatentCacheFormat::kFP8:
        decode_latent(layout, rows, unscaled, to);
        copy_values<BF16>(rope, R, to + C_padded);
        break;
    }
    std::fill_n(to + C, C_padded - C, T{});
    std::fill_n(to + C_padded + R, R_padded - R, T{});
  }
}

/// The exponent of the scale: see append_latent_rows. 448 is 1.75·2^8.
inline int scale_exponent(float largest) {
  const uint32_t u = std::bit_cast<uint32_t>(largest);
  const int exponent = static_cast<int>(u >> 23) - 127 - 8 + ((u & 0x7fffffu) > 0x600000u);
  return std::clamp(exponent, -117, 119);
}
inline float power_of_two(int exponent) {
  return std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
}

inline void quantize_latent(const float* latent, int64_t count, std::byte* codes,
                            std::byte* scales) {
  constexpr int64_t kGroup = LatentRowLayout::kGroup;
  for (int64_t g = 0; g < count; g += kGroup, scales += sizeof(float)) {
    const int64_t n = std::min(kGroup, count - g);
    VecF top = {}, bad = {};
    for_vectors(n, [&](int64_t i, auto part) {
      const VecF x = load(latent + g + i, part);
      const VecF size = bit_cast_vec<VecF>(bit_cast_vec<VecU>(x) & 0x7fffffffu);
      top = size > top ? size : top;
      bad += x - x;  // NaN where x is NaN or infinite
    });
    const int exponent = scale_exponent(reduce_max(top));
    const float inverse = power_of_two(-exponent);
    for_vectors(n, [&](int64_t i, auto part) {
      store(reinterpret_cast<E4M3*>(codes + g + i), load(latent + g + i, part) * inverse, part);
    });
    const float scale = power_of_two(exponent) + reduce_add(bad);
    __builtin_memcpy(scales, &scale, sizeof scale);
  }
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
