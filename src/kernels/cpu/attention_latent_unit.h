#pragma once

// What the products of absorbed decode are made of: words of 4 bytes, one F32 or two BF16 with
// consecutive k, the lower k in the lower half. For files compiled once per instruction set.

#include "kernels/cpu/gemm_unit.h"

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

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
