#pragma once

// What panels are packed from: vectors of words (see gemm_table.h), converted as they are loaded.
// For files compiled once per instruction set.

#include <algorithm>

#include "kernels/cpu/gemm_table.h"
#include "kernels/cpu/vec.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

/// A word is an F32.
struct WordF32 {
  static constexpr int64_t kElements = 1;
  static VecF round(VecF x) { return x; }
  template <class T, class Part>
  static VecF convert(const T* p, Part part) {
    return load(p, part);
  }
};

/// A word is an F32 rounded to BF16, for instruction sets without a BF16 product.
struct WordRounded {
  static constexpr int64_t kElements = 1;
  static VecF round(VecF x) { return widen(narrow(x)); }
  template <class Part>
  static VecF convert(const BF16* p, Part part) {
    return load(p, part);
  }
  template <class Part>
  static VecF convert(const float* p, Part part) {
    return round(load(p, part));
  }
};

/// A word is two BF16 with consecutive k, the lower k in the lower half.
struct WordPair {
  static constexpr int64_t kElements = 2;
};

/// Runs body with Full or Tail{count}; nothing when count is not positive.
template <class Body>
inline void with_part(int64_t count, Body body) {
  if (count >= kLanes)
    body(Full{});
  else if (count > 0)
    body(Tail{count});
}

inline void load_pairs(const BF16* p, int64_t count, VecU* out) {
  if (count >= 2 * kLanes)
    *out = load_bits<VecU>(p, Full{});
  else
    __builtin_memcpy(out, p, static_cast<size_t>(std::max<int64_t>(count, 0)) * sizeof(BF16));
}
/// 2·kLanes values rounded to BF16, in order.
inline VecU round_pairs(VecF low, VecF high) {
#if defined(__AVX512BF16__)
  // Subnormal inputs become zero, as they do in the products that the words are for.
  return bit_cast_vec<VecU>(_mm512_cvtne2ps_pbh(high, low));
#else
  const VecH half[2] = {narrow(low), narrow(high)};
  VecU out;
  __builtin_memcpy(&out, half, sizeof out);
  return out;
#endif
}
inline void load_pairs(const float* p, int64_t count, VecU* out) {
  VecF half[2] = {};
  with_part(count, [&](auto part) { half[0] = load(p, part); });
  with_part(count - kLanes, [&](auto part) { half[1] = load(p + kLanes, part); });
  *out = round_pairs(half[0], half[1]);
}

/// kLanes words along k from p, of which `count` elements exist; the rest is zero.
template <class Word, class T>
inline VecU words_along_k(const T* p, int64_t count) {
  VecU out = {};
  if constexpr (Word::kElements == 2)
    load_pairs(p, count, &out);
  else
    with_part(count, [&](auto part) { out = bit_cast_vec<VecU>(Word::convert(p, part)); });
  return out;
}

/// Words whose halves are a lane of `even` and one of `odd`.
template <class Part>
inline VecU pair_words(const BF16* even, const BF16* odd, Part part) {
  const VecU low = extend(load_bits<VecH>(even, part));
  return odd ? low | extend(load_bits<VecH>(odd, part)) << 16 : low;
}
template <class Part>
inline VecU pair_words(const float* even, const float* odd, Part part) {
  const VecU pairs = round_pairs(load(even, part), odd ? load(odd, part) : VecF{});
  struct Halves {
    VecH low, high;
  };
  const auto half = __builtin_bit_cast(Halves, pairs);
  return extend(half.low) | extend(half.high) << 16;
}

/// The word of k for kLanes consecutive rows (or columns), of which `count` exist, from an
/// outer-contiguous operand; p is at element k, and k_left elements of K remain from there.
template <class Word, class T>
inline VecU words_across(const T* p, int64_t stride, int64_t count, int64_t k_left) {
  VecU out = {};
  with_part(k_left > 0 ? count : 0, [&](auto part) {
    if constexpr (Word::kElements == 2)
      out = pair_words(p, k_left > 1 ? p + stride : nullptr, part);
    else
      out = bit_cast_vec<VecU>(Word::convert(p, part));
  });
  return out;
}

/// One side of one panel of F32 or BF16: `count` rows (columns) starting at p's, segment by
/// segment. ScaledSource (gemm_source_scaled.h) is the same for E4M3.
template <class Word, class T>
struct PanelSource {
  const T* p = nullptr;
  int64_t stride = 0;
  int64_t count = 0;  ///< rows or columns that exist
  int64_t k = 0;      ///< elements of K
  static constexpr int64_t kSegment = kLanes * Word::kElements;

  void seek(const GemmOperand& x, GemmRange outer, GemmRange k_range) {
    const int64_t first = x.k_contiguous ? outer.begin * x.stride + k_range.begin
                                         : k_range.begin * x.stride + outer.begin;
    *this = {static_cast<const T*>(x.data) + first, x.stride, outer.count, k_range.count};
  }
  /// Words of row x in the segment at k0, x < count.
  VecU row(int64_t x, int64_t k0) const { return words_along_k<Word>(p + x * stride + k0, k - k0); }
  /// Words w of rows [x, x + kLanes) in the segment at k0.
  VecU column(int64_t x, int64_t k0, int64_t w) const {
    const int64_t at = k0 + w * Word::kElements;
    __builtin_prefetch(p + (at + kSegment) * stride + x, 0,
                       2);  // rows lie too far apart for hardware
    return words_across<Word>(at < k ? p + at * stride + x : p, stride, count - x, k - at);
  }
};

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
