#pragma once

// What the products of absorbed decode are made of: words of 4 bytes, one F32 or two BF16 with
// consecutive k, the lower k in the lower half. For files compiled once per instruction set.

#include <utility>

#include "kernels/cpu/vec.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

inline VecF broadcast_word(const std::byte* word) {
  float x;
  __builtin_memcpy(&x, word, sizeof x);
  return splat(x);
}
inline VecF load_words(const void* p) {
  VecF v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

/// F32 as they are.
struct LatentF32 {
  using Element = float;
  static constexpr int64_t kElements = 1;  ///< of k in a word
  static VecF broadcast(const std::byte* word) { return broadcast_word(word); }
  static VecF multiply_add(VecF sum, VecF a, VecF b) { return sum + a * b; }
  static VecF round(VecF x) { return x; }
};

/// F32 rounded to BF16, for units without a BF16 product. Rows are BF16 values already.
struct LatentRounded : LatentF32 {
  static VecF round(VecF x) { return widen(narrow(x)); }
};

/// Pairs of BF16.
struct LatentPairs {
  using Element = BF16;
  static constexpr int64_t kElements = 2;
#if defined(__AVX512BF16__)
  static VecF broadcast(const std::byte* word) {
    int pair;
    __builtin_memcpy(&pair, word, sizeof pair);
    return bit_cast_vec<VecF>(_mm512_set1_epi32(pair));
  }
  static VecF multiply_add(VecF sum, VecF a, VecF b) {
    return _mm512_dpbf16_ps(sum, bit_cast_vec<__m512bh>(a), bit_cast_vec<__m512bh>(b));
  }
#endif
};

/// Two vectors rounded to BF16 as the halves of words.
inline VecU pair_words(VecF even, VecF odd) {
  return extend(narrow(even)) | (extend(narrow(odd)) << 16);
}

/// body(0), body(1), … with constant arguments, so that arrays of vectors stay in registers.
template <int64_t N, class Body>
inline void unroll(Body body) {
  [&]<int64_t... I>(std::integer_sequence<int64_t, I...>) {
    (body(std::integral_constant<int64_t, I>{}), ...);
  }
  (std::make_integer_sequence<int64_t, N>());
}

template <int64_t S, size_t... L>
inline void exchange_squares(VecU& a, VecU& b, std::index_sequence<L...>) {
  constexpr int64_t n = kLanes;
  const VecU low = __builtin_shufflevector(
      a, b, static_cast<int>(int64_t{L} & S ? n + int64_t{L} - S : int64_t{L})...);
  b = __builtin_shufflevector(
      a, b, static_cast<int>(int64_t{L} & S ? n + int64_t{L} : int64_t{L} + S)...);
  a = low;
}

/// Word j of vector i becomes word i of vector j.
template <int64_t S = 1>
inline void transpose_words(VecU (&v)[kLanes]) {
  for (int64_t i = 0; i < kLanes; ++i)
    if (!(i & S)) exchange_squares<S>(v[i], v[i + S], std::make_index_sequence<kLanes>());
  if constexpr (2 * S < kLanes) transpose_words<2 * S>(v);
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
