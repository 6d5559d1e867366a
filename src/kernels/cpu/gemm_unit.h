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

struct ArithmeticF32 {
  static constexpr int64_t kElements = 1;  ///< of K in a word
  static VecF broadcast(const std::byte* word) {
    float x;
    __builtin_memcpy(&x, word, sizeof x);
    return splat(x);
  }
  static VecF multiply_add(VecF sum, VecF a, VecF b) { return sum + a * b; }
};

#if defined(__AVX512BF16__)
struct ArithmeticBF16 {
  static constexpr int64_t kElements = 2;
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

/// What inputs are converted to, and how the words are multiplied.
struct UnitF32 : ArithmeticF32 {
  using Arithmetic = ArithmeticF32;
  using Word = WordF32;
};
struct UnitRounded : ArithmeticF32 {
  using Arithmetic = ArithmeticF32;
  using Word = WordRounded;
};
#if defined(__AVX512BF16__)
struct UnitBF16 : ArithmeticBF16 {
  using Arithmetic = ArithmeticBF16;
  using Word = WordPair;
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
