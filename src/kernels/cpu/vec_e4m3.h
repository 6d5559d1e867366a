#pragma once

#include "kernels/cpu/vec.h"
#include "numerics/e4m3.h"

// E4M3 to F32 and BF16 and back, whole vectors at a time, bit for bit as numerics/e4m3.h and
// numerics/bf16.h define it, NaN included. Nothing relies on subnormal arithmetic, which some units
// flush to zero and others take a hundred cycles for.
//
// AVX512-VBMI looks BF16 values up in a table of the 128 magnitudes that is multiplied by the scale
// beforehand: a block's scale then costs nothing an element. Elsewhere codes go through FP16, whose
// exponent field is a superset of E4M3's, or through integer arithmetic.

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

using VecQ = uint8_t __attribute__((vector_size(kVectorBytes / 4)));   // a code for each lane
using VecB = uint8_t __attribute__((vector_size(kVectorBytes)));       // four codes for each lane
using VecW = uint16_t __attribute__((vector_size(kVectorBytes)));      // two BF16 for each lane
using HalfB = uint8_t __attribute__((vector_size(kVectorBytes / 2)));  // two codes for each lane

inline VecU extend_codes(VecQ codes) {
#if defined(__AVX512F__)
  return bit_cast_vec<VecU>(_mm512_maskz_cvtepu8_epi32(0xffff, bit_cast_vec<__m128i>(codes)));
#elif defined(__AVX2__)
  return bit_cast_vec<VecU>(
      _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bit_cast_vec<long long>(codes))));
#else
  return __builtin_convertvector(codes, VecU);
#endif
}

/// Lanes of at most 255, as bytes.
inline VecQ truncate_codes(VecU u) {
#if defined(__AVX512F__)
  return bit_cast_vec<VecQ>(_mm512_maskz_cvtepi32_epi8(0xffff, bit_cast_vec<__m512i>(u)));
#elif defined(__AVX2__)
  const __m256i v = bit_cast_vec<__m256i>(u);
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return bit_cast_vec<VecQ>(_mm_cvtsi128_si64(_mm_packus_epi16(words, words)));
#else
  return __builtin_convertvector(u, VecQ);
#endif
}

#if defined(__AVX2__)
/// What the codes mean as FP16 with an exponent bias of 7, that is their values times 2^-8; NaN
/// stays NaN.
inline VecF decode_as_half(VecQ codes) {
#if defined(__AVX512F__)
  const __m256i x = _mm256_cvtepu8_epi16(bit_cast_vec<__m128i>(codes));
  const __m256i sign_and_rest = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 1);
  const __m256i half = _mm256_and_si256(sign_and_rest, _mm256_set1_epi16(int16_t(0xbf80)));
  const __mmask16 nan = _mm256_cmpeq_epi16_mask(_mm256_and_si256(x, _mm256_set1_epi16(0x7f)),
                                                _mm256_set1_epi16(0x7f));
  const __m256i quiet = _mm256_maskz_set1_epi16(nan, 0x7e00);
  return _mm512_maskz_cvtph_ps(0xffff, _mm256_or_si256(half, quiet));
#else
  const __m128i x = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(bit_cast_vec<long long>(codes)));
  const __m128i sign_and_rest = _mm_srai_epi16(_mm_slli_epi16(x, 8), 1);
  const __m128i half = _mm_and_si128(sign_and_rest, _mm_set1_epi16(int16_t(0xbf80)));
  const __m128i all_ones = _mm_set1_epi16(0x7f);
  const __m128i nan = _mm_cmpeq_epi16(_mm_and_si128(x, all_ones), all_ones);
  return _mm256_cvtph_ps(_mm_or_si128(half, _mm_and_si128(nan, _mm_set1_epi16(0x7e00))));
#endif
}
#endif

/// What `decode_e4m3` multiplies by so that its result is value · scale, rounded once. Finite
/// results of scales below 2^120 are exact to that definition.
inline VecF decode_factor(VecF scale) {
#if defined(__AVX2__)
  return scale * 256.0f;
#else
  return scale;
#endif
}
inline VecF decode_factor(float scale) {
  return decode_factor(splat(scale));
}

/// The codes' values times the scale that `factor` was made of.
inline VecF decode_e4m3(VecQ codes, VecF factor) {
#if defined(__AVX2__)
  return decode_as_half(codes) * factor;
#else
  const VecU x = extend_codes(codes);
  const VecU magnitude = (x & 0x7fu) << 20, sign = (x & 0x80u) << 24;
  const VecF normal = bit_cast_vec<VecF>(magnitude + (120u << 23));
  const VecF subnormal = bit_cast_vec<VecF>(magnitude + (121u << 23)) - 0x1p-6f;
  VecU u = bit_cast_vec<VecU>(magnitude < (1u << 23) ? subnormal : normal);
  u = magnitude == (0x7fu << 20) ? VecU{} + 0x7fc00000u : u;
  return bit_cast_vec<VecF>(u | sign) * factor;
#endif
}

/// The nearest codes, ties to even. Beyond ±448: kSaturate gives ±448, also for infinity;
/// otherwise what would round above 448 becomes NaN. NaN stays NaN, with its sign.
template <bool kSaturate = true>
inline VecQ encode_e4m3(VecF x) {
  const VecU sign = (bit_cast_vec<VecU>(x) >> 24) & 0x80u;
  VecF magnitude = bit_cast_vec<VecF>(bit_cast_vec<VecU>(x) & 0x7fffffffu);
  if constexpr (kSaturate) magnitude = at_most(kE4M3Max, magnitude);
  const VecU u = bit_cast_vec<VecU>(magnitude);
  const VecU normal = ((u + (0x7ffffu + ((u >> 20) & 1))) >> 20) - (120u << 3);
  // The last place of 2^14 is the smallest subnormal, 2^-9: the addition rounds to a multiple.
  const VecU subnormal =
      bit_cast_vec<VecU>(magnitude + 0x1p14f) - bit_cast_vec<VecU>(splat(0x1p14f));
  VecU code = u < VecU{} + (121u << 23) ? subnormal : normal;
  code = code > 0x7fu ? VecU{} + 0x7fu : code;  // overflow, infinity, NaN
  return truncate_codes(code | sign);
}

/// Loads values (scale 1); lanes beyond a tail are zero.
template <class Part>
inline VecF load(const E4M3* p, Part part) {
  return decode_e4m3(load_bits<VecQ>(p, part), decode_factor(1));
}
inline void store_codes(E4M3* p, VecQ codes, Full) {
  __builtin_memcpy(p, &codes, sizeof codes);
}
inline void store_codes(E4M3* p, VecQ codes, Tail part) {
  __builtin_memcpy(p, &codes, static_cast<size_t>(part.count));
}
/// Stores saturating.
template <class Part>
inline void store(E4M3* p, VecF v, Part part) {
  store_codes(p, encode_e4m3(v), part);
}

/// How to turn codes into bf16(value · scale): made once for a scale, used for many codes.
struct E4M3ToBF16 {
#if defined(__AVX512VBMI__)
  __m512i low[2], high[2];  // bytes of the BF16 of magnitudes 0..63 and 64..127
#else
  VecF factor;
#endif
};

#if defined(__AVX512VBMI__)
struct E4M3Magnitudes {
  float value[128];
};
constexpr E4M3Magnitudes kE4M3Magnitudes = [] {
  E4M3Magnitudes m{};
  for (unsigned i = 0; i < 128; ++i) m.value[i] = to_float(E4M3{static_cast<uint8_t>(i)});
  return m;
}();
#endif

inline E4M3ToBF16 e4m3_to_bf16(float scale) {
#if defined(__AVX512VBMI__)
  alignas(64) uint16_t words[128];
  for (int64_t i = 0; i < 128; i += kLanes) {
    const VecH h = narrow(load(kE4M3Magnitudes.value + i, Full{}) * scale);
    __builtin_memcpy(words + i, &h, sizeof h);
  }
  alignas(64) uint8_t even[64];  // where the low bytes of 64 words lie
  for (int i = 0; i < 64; ++i) even[i] = static_cast<uint8_t>(2 * i);
  const __m512i low = _mm512_load_si512(even);
  const __m512i high = _mm512_or_si512(low, _mm512_set1_epi8(1));
  E4M3ToBF16 table;
  for (int half = 0; half < 2; ++half) {
    const __m512i a = _mm512_load_si512(words + 64 * half);
    const __m512i b = _mm512_load_si512(words + 64 * half + 32);
    table.low[half] = _mm512_permutex2var_epi8(a, low, b);
    table.high[half] = _mm512_permutex2var_epi8(a, high, b);
  }
  return table;
#else
  return {decode_factor(scale)};
#endif
}

/// Twice as many BF16 words as fit one vector, in the order of the codes.
struct TwoVecW {
  VecW first, second;
};

inline VecW decode_words(HalfB codes, const E4M3ToBF16& to);

/// The codes of a whole vector.
inline TwoVecW decode_words(VecB codes, const E4M3ToBF16& to) {
#if defined(__AVX512VBMI__)
  // Interleaving bytes works within 128-bit lanes: bring the codes of each lane's result there.
  const __m512i order = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);
  const __m512i x = _mm512_maskz_permutexvar_epi64(0xff, order, bit_cast_vec<__m512i>(codes));
  const __m512i low = _mm512_permutex2var_epi8(to.low[0], x, to.low[1]);
  const __m512i magnitude = _mm512_permutex2var_epi8(to.high[0], x, to.high[1]);
  const __m512i high =  // magnitude ^ (x & 0x80)
      _mm512_ternarylogic_epi32(magnitude, x, _mm512_set1_epi8(int8_t(0x80)), 0x78);
  return {bit_cast_vec<VecW>(_mm512_unpacklo_epi8(low, high)),
          bit_cast_vec<VecW>(_mm512_unpackhi_epi8(low, high))};
#else
  HalfB half[2];
  __builtin_memcpy(half, &codes, sizeof codes);
  return {decode_words(half[0], to), decode_words(half[1], to)};
#endif
}

/// The codes of half a vector.
inline VecW decode_words(HalfB codes, const E4M3ToBF16& to) {
#if defined(__AVX512VBMI__)
  const __m512i x = _mm512_maskz_cvtepu8_epi16(~0u, bit_cast_vec<__m256i>(codes));
  const __m512i low = _mm512_maskz_permutex2var_epi8(0x5555555555555555, to.low[0], x, to.low[1]);
  const __m512i high =
      _mm512_maskz_permutex2var_epi8(0x5555555555555555, to.high[0], x, to.high[1]);
  const __m512i sign = _mm512_and_si512(x, _mm512_set1_epi16(0x80));
  return bit_cast_vec<VecW>(
      _mm512_or_si512(low, _mm512_slli_epi16(_mm512_xor_si512(high, sign), 8)));
#else
  VecQ quarter[2];
  __builtin_memcpy(quarter, &codes, sizeof codes);
  const VecH words[2] = {narrow(decode_e4m3(quarter[0], to.factor)),
                         narrow(decode_e4m3(quarter[1], to.factor))};
  VecW all;
  __builtin_memcpy(&all, words, sizeof all);
  return all;
#endif
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
