#pragma once

// Vectors as wide as the instruction set this file is compiled for, through GCC's and clang's
// vector extensions: 64 bytes with AVX-512, 32 with AVX2, else 16 (SSE2, NEON). For files compiled
// once per instruction set only. Everything sits in an unnamed namespace, so that no function
// compiled for one instruction set can be picked by the linker for another.

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "numerics/bf16.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

#if defined(FATHOM_VECTOR_BYTES)  // a test emulates wider vectors than the machine's
constexpr int64_t kVectorBytes = FATHOM_VECTOR_BYTES;
#elif defined(__AVX512F__)
constexpr int64_t kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int64_t kVectorBytes = 32;
#else
constexpr int64_t kVectorBytes = 16;
#endif
constexpr int64_t kLanes = kVectorBytes / 4;

using VecF = float __attribute__((vector_size(kVectorBytes)));
using VecU = uint32_t __attribute__((vector_size(kVectorBytes)));
using VecD = double __attribute__((vector_size(kVectorBytes)));         // half as many lanes
using VecU64 = uint64_t __attribute__((vector_size(kVectorBytes)));     // half as many lanes
using HalfF = float __attribute__((vector_size(kVectorBytes / 2)));     // half as many lanes
using HalfU = uint32_t __attribute__((vector_size(kVectorBytes / 2)));  // half as many lanes
using VecH = uint16_t __attribute__((vector_size(kVectorBytes / 2)));   // a BF16 for each lane

template <class To, class From>
inline To bit_cast_vec(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To out;
  __builtin_memcpy(&out, &v, sizeof out);
  return out;
}

/// x in every lane: x − 0, which keeps −0 and NaN.
inline VecF splat(float x) {
  return x - VecF{};
}

/// 16-bit lanes zero-extended to 32 bits and back (the upper halves dropped, which must be zero).
/// Intrinsics where __builtin_convertvector becomes a chain of shuffles (GCC 12).
inline VecU extend(VecH h) {
#if defined(__AVX512F__)
  return bit_cast_vec<VecU>(_mm512_maskz_cvtepu16_epi32(0xffff, bit_cast_vec<__m256i>(h)));
#elif defined(__AVX2__)
  return bit_cast_vec<VecU>(_mm256_cvtepu16_epi32(bit_cast_vec<__m128i>(h)));
#else
  return __builtin_convertvector(h, VecU);
#endif
}
inline VecH truncate(VecU u) {
#if defined(__AVX512F__)
  return bit_cast_vec<VecH>(_mm512_maskz_cvtepi32_epi16(0xffff, bit_cast_vec<__m512i>(u)));
#elif defined(__AVX2__)
  const __m256i packed = _mm256_packus_epi32(bit_cast_vec<__m256i>(u), _mm256_setzero_si256());
  return bit_cast_vec<VecH>(_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0b1000)));
#else
  return __builtin_convertvector(u, VecH);
#endif
}

inline VecF widen(VecH h) {
  return bit_cast_vec<VecF>(extend(h) << 16);
}

/// As to_bf16: nearest, ties to even, NaN stays NaN.
inline VecH narrow(VecF x) {
  const VecU u = bit_cast_vec<VecU>(x);
  const VecU rounded = u + (0x7fffu + ((u >> 16) & 1));
  return truncate((x != x ? u | 0x400000u : rounded) >> 16);  // NaN made quiet
}

/// The lesser (greater) of the limit and x; x where it is NaN.
inline VecF at_most(float limit, VecF x) {
#if defined(__AVX512F__)
  return _mm512_maskz_min_ps(0xffff, splat(limit), x);
#elif defined(__AVX2__)
  return _mm256_min_ps(splat(limit), x);
#else
  return x > limit ? splat(limit) : x;
#endif
}
inline VecF at_least(float limit, VecF x) {
#if defined(__AVX512F__)
  return _mm512_maskz_max_ps(0xffff, splat(limit), x);
#elif defined(__AVX2__)
  return _mm256_max_ps(splat(limit), x);
#else
  return x < limit ? splat(limit) : x;
#endif
}

/// Which lanes of a vector a load or store touches: all, or the first `count`.
struct Full {};
struct Tail {
  int64_t count;
};

template <class V, class T>
inline V load_bits(const T* p, Full) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class V, class T>
inline V load_bits(const T* p, Tail part) {
#if defined(__AVX512F__)  // masks, where a copy of unknown length would call memcpy
  if constexpr (sizeof(V) / sizeof(T) == 16) {
    const auto mask = static_cast<__mmask16>((1u << part.count) - 1);
    if constexpr (sizeof(T) == 4) return bit_cast_vec<V>(_mm512_maskz_loadu_epi32(mask, p));
    if constexpr (sizeof(T) == 2) return bit_cast_vec<V>(_mm256_maskz_loadu_epi16(mask, p));
    if constexpr (sizeof(T) == 1) return bit_cast_vec<V>(_mm_maskz_loadu_epi8(mask, p));
  }
#endif
  V v{};
  __builtin_memcpy(&v, p, static_cast<size_t>(part.count) * sizeof(T));
  return v;
}

/// Loads as F32; lanes beyond a tail are zero.
template <class Part>
inline VecF load(const float* p, Part part) {
  return load_bits<VecF>(p, part);
}
template <class Part>
inline VecF load(const BF16* p, Part part) {
  return widen(load_bits<VecH>(p, part));
}

inline void store(float* p, VecF v, Full) {
  __builtin_memcpy(p, &v, sizeof v);
}
inline void store(float* p, VecF v, Tail part) {
  __builtin_memcpy(p, &v, static_cast<size_t>(part.count) * sizeof(float));
}
inline void store(BF16* p, VecF v, Full) {
  const VecH h = narrow(v);
  __builtin_memcpy(p, &h, sizeof h);
}
inline void store(BF16* p, VecF v, Tail part) {
  const VecH h = narrow(v);
  __builtin_memcpy(p, &h, static_cast<size_t>(part.count) * sizeof(BF16));
}

/// As store, but with the processor's conversion to BF16 where it has one, which makes results
/// below 2^-126 zero.
template <class T, class Part>
inline void store_flushed(T* p, VecF v, Part part) {
  store(p, v, part);
}
#if defined(__AVX512BF16__)
inline void store_flushed(BF16* p, VecF v, Full) {
  const __m256bh h = _mm512_cvtneps_pbh(v);
  __builtin_memcpy(p, &h, sizeof h);
}
inline void store_flushed(BF16* p, VecF v, Tail part) {
  const __m256bh h = _mm512_cvtneps_pbh(v);
  __builtin_memcpy(p, &h, static_cast<size_t>(part.count) * sizeof(BF16));
}
#endif

/// body(i, part) for every vector of [0, n): all full but perhaps the last.
template <class Body>
inline void for_vectors(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, Full{});
  if (i < n) body(i, Tail{n - i});
}

/// The lanes combined pairwise: the order depends on the vector width alone.
template <class Combine>
inline float reduce(VecF v, Combine combine) {
  float lane[kLanes];
  __builtin_memcpy(lane, &v, sizeof lane);
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t l = 0; l < half; ++l) lane[l] = combine(lane[l], lane[l + half]);
  return lane[0];
}
inline float reduce_add(VecF v) {
  return reduce(v, [](float a, float b) { return a + b; });
}
inline float reduce_max(VecF v) {
  return reduce(v, [](float a, float b) { return a > b ? a : b; });
}

/// Σ term(i, part) over the vectors of [0, n), in four interleaved partial sums: the rounding error
/// is that of sums of n / (4·lanes) terms. Lanes of a term beyond a tail must be zero.
template <class Term>
inline float sum_vectors(int64_t n, Term term) {
  VecF a = {}, b = {}, c = {}, d = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a += term(i, Full{});
    b += term(i + kLanes, Full{});
    c += term(i + 2 * kLanes, Full{});
    d += term(i + 3 * kLanes, Full{});
  }
  for (; i + kLanes <= n; i += kLanes) a += term(i, Full{});
  if (i < n) b += term(i, Tail{n - i});
  return reduce_add((a + b) + (c + d));
}

/// The greatest of n values. NaN is passed over: it shows in what is computed from the rest.
inline float max_vectors(const float* x, int64_t n) {
  VecF a = splat(-__builtin_inff()), b = a, c = a, d = a;
  const auto larger = [](VecF p, VecF q) { return q > p ? q : p; };
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = larger(a, load(x + i, Full{}));
    b = larger(b, load(x + i + kLanes, Full{}));
    c = larger(c, load(x + i + 2 * kLanes, Full{}));
    d = larger(d, load(x + i + 3 * kLanes, Full{}));
  }
  for (; i + kLanes <= n; i += kLanes) a = larger(a, load(x + i, Full{}));
  float max = reduce_max(larger(larger(a, b), larger(c, d)));
  for (; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

/// The square root of each lane, correctly rounded.
inline VecF sqrt_vec(VecF v) {
  float lane[kLanes];
  __builtin_memcpy(lane, &v, sizeof lane);
  for (int64_t l = 0; l < kLanes; ++l) lane[l] = __builtin_sqrtf(lane[l]);
  return load(lane, Full{});
}

/// Calls f with a value of the element type that the flag stands for.
template <class F>
inline void with_type(bool bf16, F f) {
  if (bf16)
    f(BF16{});
  else
    f(0.0f);
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
