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

/// BF16 bits in the upper half of each lane.
template <class Part>
inline VecU upper_bits(const BF16* p, Part part) {
  return __builtin_convertvector(load_bits<VecH>(p, part), VecU) << 16;
}
template <class Part>
inline VecU upper_bits(const float* p, Part part) {
  const VecU u = bit_cast_vec<VecU>(load(p, part));
  const VecU rounded = u + 0x7fffu + ((u >> 16) & 1);
  return ((u & 0x7fffffffu) > 0x7f800000u ? u | 0x400000u : rounded) & 0xffff0000u;
}

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
inline void load_pairs(const float* p, int64_t count, VecU* out) {
  VecH half[2] = {};
  with_part(count, [&](auto part) { half[0] = narrow(load(p, part)); });
  with_part(count - kLanes, [&](auto part) { half[1] = narrow(load(p + kLanes, part)); });
  __builtin_memcpy(out, half, sizeof half);
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

/// The word of k for kLanes consecutive rows (or columns), of which `count` exist, from an
/// outer-contiguous operand; p is at element k, and k_left elements of K remain from there.
template <class Word, class T>
inline VecU words_across(const T* p, int64_t stride, int64_t count, int64_t k_left) {
  VecU out = {};
  with_part(k_left > 0 ? count : 0, [&](auto part) {
    if constexpr (Word::kElements == 2) {
      out = upper_bits(p, part) >> 16;
      if (k_left > 1) out |= upper_bits(p + stride, part);
    } else {
      out = bit_cast_vec<VecU>(Word::convert(p, part));
    }
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
