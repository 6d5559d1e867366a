#pragma once

// Packing of operands into the panels that cpu/gemm_table.h describes, converting on the way. For
// files compiled once per instruction set.
//
// Everything is built from vectors of words (see gemm_table.h): along k, from a k-contiguous
// operand, or across the outer dimension, from an outer-contiguous one. Panels of A want the
// former, panels of B the latter; the other two combinations transpose squares of words.

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "kernels/cpu/gemm_source_scaled.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

constexpr int64_t kSegmentRowBytes = kVectorBytes;

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

/// A panel of `height` rows, from a k-contiguous operand: [segment][height][words].
template <class Source>
void pack_rows(Source& from, int64_t height, std::byte* to) {
  const int64_t step = height * kSegmentRowBytes;
  for (int64_t x = 0; x < height; ++x) {
    std::byte* out = to + x * kSegmentRowBytes;
    for (int64_t k0 = 0; k0 < from.k; k0 += from.kSegment, out += step)
      store_words(out, x < from.count ? from.row(x, k0) : VecU{});
  }
}

/// The same from an outer-contiguous operand.
template <class Source>
void pack_rows_transposed(Source& from, int64_t height, std::byte* to) {
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
template <class Source>
void pack_columns(Source& from, std::byte* to) {
  for (int64_t k0 = 0; k0 < from.k; k0 += from.kSegment)
    for (int64_t w = 0; w < kLanes; ++w, to += kSegmentRowBytes)
      store_words(to, from.column(0, k0, w));
}

/// The same from a k-contiguous operand.
template <class Source>
void pack_columns_transposed(Source& from, std::byte* to) {
  for (int64_t k0 = 0; k0 < from.k; k0 += from.kSegment) {
    VecU square[kLanes];
    for (int64_t x = 0; x < kLanes; ++x) square[x] = x < from.count ? from.row(x, k0) : VecU{};
    transpose(square);
    for (int64_t w = 0; w < kLanes; ++w, to += kSegmentRowBytes) store_words(to, square[w]);
  }
}

/// pack(source, to) for every panel of `height` rows (columns). An outer-contiguous operand is read
/// a segment at a time across all panels, so that memory is walked row by row.
template <class Source, class PackPanel>
void for_panels(const GemmOperand& x, GemmRange outer, GemmRange k, int64_t height, std::byte* to,
                int64_t panel_bytes, PackPanel pack) {
  const int64_t step = x.k_contiguous ? k.count : Source::kSegment;
  Source from;
  for (int64_t k0 = 0; k0 < k.count; k0 += step, to += height * kSegmentRowBytes) {
    const GemmRange part{k.begin + k0, std::min(step, k.count - k0)};
    std::byte* panel = to;
    for (int64_t i = 0; i < outer.count; i += height, panel += panel_bytes) {
      from.seek(x, {outer.begin + i, std::min(height, outer.count - i)}, part);
      pack(from, panel);
    }
  }
}

/// Calls f with the type of source for a dtype.
template <class Word, class F>
void with_source(DType dtype, F f) {
  if (dtype == DType::kE4M3) return f(std::type_identity<ScaledSource<Word>>{});
  if (dtype == DType::kBF16) return f(std::type_identity<PanelSource<Word, BF16>>{});
  f(std::type_identity<PanelSource<Word, float>>{});
}

template <class Word, int64_t kHeight>
void pack_a(const GemmOperand& a, GemmRange m, GemmRange k, std::byte* to, int64_t panel_bytes) {
  with_source<Word>(a.dtype, [&]<class Source>(std::type_identity<Source>) {
    for_panels<Source>(a, m, k, kHeight, to, panel_bytes, [&](Source& from, std::byte* out) {
      if (a.k_contiguous)
        pack_rows(from, kHeight, out);
      else
        pack_rows_transposed(from, kHeight, out);
    });
  });
}

template <class Word>
void pack_b(const GemmOperand& b, GemmRange n, GemmRange k, std::byte* to, int64_t panel_bytes) {
  with_source<Word>(b.dtype, [&]<class Source>(std::type_identity<Source>) {
    for_panels<Source>(b, n, k, kLanes, to, panel_bytes, [&](Source& from, std::byte* out) {
      if (b.k_contiguous)
        pack_columns_transposed(from, out);
      else
        pack_columns(from, out);
    });
  });
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
