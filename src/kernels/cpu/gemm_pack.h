#pragma once

// Packing of operands into the panels that cpu/gemm_table.h describes, converting on the way. For
// files compiled once per instruction set.
//
// Everything is built from vectors of words (see gemm_table.h): along k, from a k-contiguous
// operand, or across the outer dimension, from an outer-contiguous one. Panels of A want the
// former, panels of B the latter; the other two combinations transpose squares of words.

#include <algorithm>
#include <cstddef>
#include <utility>

#include "kernels/cpu/gemm_table.h"
#include "kernels/cpu/vec.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

/// A word is an F32.
struct WordF32 {
  static constexpr int64_t kElements = 1;
  template <class T, class Part>
  static VecF convert(const T* p, Part part) {
    return load(p, part);
  }
};

/// A word is an F32 rounded to BF16, for instruction sets without a BF16 product.
struct WordRounded {
  static constexpr int64_t kElements = 1;
  template <class Part>
  static VecF convert(const BF16* p, Part part) {
    return load(p, part);
  }
  template <class Part>
  static VecF convert(const float* p, Part part) {
    return widen(narrow(load(p, part)));
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

inline void store_words(std::byte* to, VecU words) {
  __builtin_memcpy(to, &words, sizeof words);
}

/// One step of a transposition: exchanges the off-diagonal squares of side S of a pair of vectors
/// that are S rows apart.
template <int64_t S, size_t... L>
inline void exchange(VecU& a, VecU& b, std::index_sequence<L...>) {
  constexpr int64_t n = kLanes;
  const VecU low = __builtin_shufflevector(
      a, b, static_cast<int>(int64_t{L} & S ? n + int64_t{L} - S : int64_t{L})...);
  b = __builtin_shufflevector(
      a, b, static_cast<int>(int64_t{L} & S ? n + int64_t{L} : int64_t{L} + S)...);
  a = low;
}

template <int64_t S = 1>
inline void transpose(VecU (&v)[kLanes]) {
#pragma GCC unroll 16
  for (int64_t i = 0; i < kLanes; ++i)
    if (!(i & S)) exchange<S>(v[i], v[i + S], std::make_index_sequence<kLanes>());
  if constexpr (2 * S < kLanes) transpose<2 * S>(v);
}

constexpr int64_t kSegmentRowBytes = kVectorBytes;

/// One side of one panel: `count` rows (columns) starting at p's, segment by segment.
template <class Word, class T>
struct PanelSource {
  const T* p;
  int64_t stride;
  int64_t count;  ///< rows or columns that exist
  int64_t k;      ///< elements of K
  static constexpr int64_t kSegment = kLanes * Word::kElements;

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

/// A panel of `height` rows, from a k-contiguous operand: [segment][height][words].
template <class Word, class T>
void pack_rows(const PanelSource<Word, T>& from, int64_t height, std::byte* to) {
  const int64_t step = height * kSegmentRowBytes;
  for (int64_t x = 0; x < height; ++x) {
    std::byte* out = to + x * kSegmentRowBytes;
    for (int64_t k0 = 0; k0 < from.k; k0 += from.kSegment, out += step)
      store_words(out, x < from.count ? from.row(x, k0) : VecU{});
  }
}

/// The same from an outer-contiguous operand.
template <class Word, class T>
void pack_rows_transposed(const PanelSource<Word, T>& from, int64_t height, std::byte* to) {
  for (int64_t k0 = 0; k0 < from.k; k0 += from.kSegment)
    for (int64_t x0 = 0; x0 < height; x0 += kLanes) {
      VecU square[kLanes];
      for (int64_t w = 0; w < kLanes; ++w) square[w] = from.column(x0, k0, w);
      transpose(square);
      const int64_t rows = std::min(kLanes, height - x0);
      for (int64_t x = 0; x < rows; ++x, to += kSegmentRowBytes) store_words(to, square[x]);
    }
}

/// A panel of kLanes columns, from an outer-contiguous operand: [segment][words][kLanes].
template <class Word, class T>
void pack_columns(const PanelSource<Word, T>& from, std::byte* to) {
  for (int64_t k0 = 0; k0 < from.k; k0 += from.kSegment)
    for (int64_t w = 0; w < kLanes; ++w, to += kSegmentRowBytes)
      store_words(to, from.column(0, k0, w));
}

/// The same from a k-contiguous operand.
template <class Word, class T>
void pack_columns_transposed(const PanelSource<Word, T>& from, std::byte* to) {
  for (int64_t k0 = 0; k0 < from.k; k0 += from.kSegment) {
    VecU square[kLanes];
    for (int64_t x = 0; x < kLanes; ++x) square[x] = x < from.count ? from.row(x, k0) : VecU{};
    transpose(square);
    for (int64_t w = 0; w < kLanes; ++w, to += kSegmentRowBytes) store_words(to, square[w]);
  }
}

/// pack(source, to) for every panel of `height` rows (columns). An outer-contiguous operand is read
/// a segment at a time across all panels, so that memory is walked row by row.
template <class Word, class T, class PackPanel>
void for_panels(const GemmOperand& x, GemmRange outer, GemmRange k, int64_t height, std::byte* to,
                int64_t panel_bytes, PackPanel pack) {
  constexpr int64_t kSegment = PanelSource<Word, T>::kSegment;
  const T* data = static_cast<const T*>(x.data);
  const int64_t step = x.k_contiguous ? k.count : kSegment;
  for (int64_t k0 = 0; k0 < k.count; k0 += step, to += height * kSegmentRowBytes) {
    std::byte* panel = to;
    for (int64_t i = 0; i < outer.count; i += height, panel += panel_bytes) {
      const int64_t o = outer.begin + i, at = k.begin + k0;
      const T* p = data + (x.k_contiguous ? o * x.stride + at : at * x.stride + o);
      pack(PanelSource<Word, T>{p, x.stride, std::min(height, outer.count - i),
                                std::min(step, k.count - k0)},
           panel);
    }
  }
}

template <class Word, int64_t kHeight, class T>
void pack_a_as(const GemmOperand& a, GemmRange m, GemmRange k, std::byte* to, int64_t panel_bytes) {
  for_panels<Word, T>(a, m, k, kHeight, to, panel_bytes, [&](const auto& from, std::byte* out) {
    if (a.k_contiguous)
      pack_rows(from, kHeight, out);
    else
      pack_rows_transposed(from, kHeight, out);
  });
}

template <class Word, class T>
void pack_b_as(const GemmOperand& b, GemmRange n, GemmRange k, std::byte* to, int64_t panel_bytes) {
  for_panels<Word, T>(b, n, k, kLanes, to, panel_bytes, [&](const auto& from, std::byte* out) {
    if (b.k_contiguous)
      pack_columns_transposed(from, out);
    else
      pack_columns(from, out);
  });
}

template <class Word, int64_t kHeight>
void pack_a(const GemmOperand& a, GemmRange m, GemmRange k, std::byte* to, int64_t panel_bytes) {
  with_type(a.dtype == DType::kBF16,
            [&](auto t) { pack_a_as<Word, kHeight, decltype(t)>(a, m, k, to, panel_bytes); });
}

template <class Word>
void pack_b(const GemmOperand& b, GemmRange n, GemmRange k, std::byte* to, int64_t panel_bytes) {
  with_type(b.dtype == DType::kBF16,
            [&](auto t) { pack_b_as<Word, decltype(t)>(b, n, k, to, panel_bytes); });
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
