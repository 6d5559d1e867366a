#pragma once

// The multiply-add that the kernels on vector units are built from, on vectors of words (see
// gemm_table.h). For files compiled once per instruction set.

#include <type_traits>
#include <utility>

#include "kernels/cpu/gemm_pack.h"
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

/// Words are F32, of inputs converted as WordType says.
template <class WordType>
struct UnitF32 {
  using Word = WordType;
  static VecF broadcast(const std::byte* word) {
    float x;
    __builtin_memcpy(&x, word, sizeof x);
    return splat(x);
  }
  static VecF multiply_add(VecF sum, VecF a, VecF b) { return sum + a * b; }
};

#if defined(__AVX512BF16__)
/// Words are pairs of BF16: two products a lane.
struct UnitBF16 {
  using Word = WordPair;
  static VecF broadcast(const std::byte* word) {
    int pair;
    __builtin_memcpy(&pair, word, sizeof pair);
    return bit_cast_vec<VecF>(_mm512_set1_epi32(pair));
  }
  static VecF multiply_add(VecF sum, VecF a, VecF b) {
    return _mm512_dpbf16_ps(sum, bit_cast_vec<__m512bh>(a), bit_cast_vec<__m512bh>(b));
  }
};
#endif

/// body(0), body(1), … body(N - 1) with constant arguments, so that arrays of vectors indexed by
/// them stay in registers.
template <int64_t N, class Body>
inline void unrolled(Body body) {
  [&]<int64_t... I>(std::integer_sequence<int64_t, I...>) {
    (body(std::integral_constant<int64_t, I>{}), ...);
  }
  (std::make_integer_sequence<int64_t, N>());
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
