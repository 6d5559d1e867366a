#pragma once

// Packing of operands into the panels that cpu/gemm_table.h describes, converting on the way. For
// files compiled once per instruction set.
//
// Everything is built from vectors of words (see gemm_table.h): along k, from a k-contiguous
// operand, or across the outer dimension, from an outer-contiguous one. Panels of A want the
// former, panels of B the latter; the other two combinations transpose squares of words.

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <numeric>
#include <type_traits>
#include <utility>

#include "kernels/cpu/gemm_decode.h"
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

/// A panel of kHeight rows, from a k-contiguous operand: [segment][kHeight][words].
template <int64_t kHeight, class Source>
void pack_rows(Source& from, std::byte* to) {
  for (int64_t k0 = 0; k0 < from.k; k0 += from.kSegment)
    for (int64_t x = 0; x < kHeight; ++x, to += kSegmentRowBytes)
      store_words(to, x < from.count ? from.row(x, k0) : VecU{});
}

/// Rows that are whole panels and whole squares.
template <int64_t kHeight>
constexpr int64_t kTransposedRows = std::lcm(kHeight, kLanes);

/// One segment of the panels of kTransposedRows rows, from an outer-contiguous operand.
template <int64_t kHeight, class Source>
void pack_rows_transposed(Source& from, std::byte* to, int64_t panel_bytes) {
  VecU square[kTransposedRows<kHeight> / kLanes][kLanes];
  for (int64_t w = 0; w < kLanes; ++w)
    for (int64_t j = 0; j < std::ssize(square); ++j) square[j][w] = from.column(j * kLanes, 0, w);
  for (auto& s : square) transpose(s);
  for (int64_t x = 0; x < from.count; x += kHeight, to += panel_bytes)
    for (int64_t i = x; i < x + kHeight; ++i)
      store_words(to + (i - x) * kSegmentRowBytes, square[i / kLanes][i % kLanes]);
}

/// Columns whose element of K is a cache line of BF16 or two.
constexpr int64_t kPackedColumns = 4 * kLanes;

/// One segment of the panels of kPackedColumns columns, from an outer-contiguous operand:
/// [words][kLanes] each.
template <class Source>
void pack_columns(Source& from, std::byte* to, int64_t panel_bytes) {
  for (int64_t w = 0; w < kLanes; ++w, to += kSegmentRowBytes)
    for (int64_t x = 0; x < from.count; x += kLanes)
      store_words(to + x / kLanes * panel_bytes, from.column(x, 0, w));
}

/// A panel of kLanes columns, from a k-contiguous operand: [segment][words][kLanes].
template <class Source>
void pack_columns_transposed(Source& from, std::byte* to) {
  for (int64_t k0 = 0; k0 < from.k; k0 += from.kSegment) {
    VecU square[kLanes];
    for (int64_t x = 0; x < kLanes; ++x) square[x] = x < from.count ? from.row(x, k0) : VecU{};
    transpose(square);
    for (int64_t w = 0; w < kLanes; ++w, to += kSegmentRowBytes) store_words(to, square[w]);
  }
}

/// What rows are decoded to for words.
template <class Word>
using Decoded = std::conditional_t<std::is_same_v<Word, WordF32>, float, BF16>;
template <class T>
constexpr StorageFormat plain_format_of() {
  return std::is_same_v<T, BF16> ? StorageFormat::kBF16 : StorageFormat::kF32;
}
template <class T>
inline void decode_to(const GemmOperand& x, int64_t r, GemmRange cols, int64_t ahead, T* to) {
  const DecodeKernels& kernels = kDecode[static_cast<size_t>(x.format)];
  if constexpr (std::is_same_v<T, BF16>)
    kernels.to_bf16(x, r, cols, ahead, to);
  else
    kernels.to_f32(x, r, cols, ahead, to);
}

/// body(source, offset of its first row or column) for every `step` rows (columns).
template <class Source, class Body>
void for_parts(const GemmOperand& x, GemmRange outer, GemmRange k, int64_t step, Source& from,
               Body body) {
  for (int64_t i = 0; i < outer.count; i += step) {
    from.seek(x, {outer.begin + i, std::min(step, outer.count - i)}, k);
    body(i);
  }
}

/// The same for an outer-contiguous operand, a segment of K at a time across all rows (columns), so
/// that memory is walked along its own rows.
template <class Source, class Body>
void for_segments(const GemmOperand& x, GemmRange outer, GemmRange k, int64_t step, Source& from,
                  Body body) {
  for (int64_t k0 = 0, segment = 0; k0 < k.count; k0 += Source::kSegment, ++segment)
    for_parts(x, outer, {k.begin + k0, std::min(Source::kSegment, k.count - k0)}, step, from,
              [&](int64_t i) { body(i, segment); });
}

/// Calls f with the type of source for a format.
template <class Word, class F>
void with_source(StorageFormat format, F f) {
  if (format == StorageFormat::kE4M3) return f(std::type_identity<ScaledSource<Word>>{});
  if (format == StorageFormat::kBF16) return f(std::type_identity<PanelSource<Word, BF16>>{});
  f(std::type_identity<PanelSource<Word, float>>{});
}

template <class Word, int64_t kHeight>
void pack_a(const GemmOperand& a, GemmRange m, GemmRange k, std::byte* to, int64_t panel_bytes) {
  with_source<Word>(a.format, [&]<class Source>(std::type_identity<Source>) {
    Source from;
    if (a.k_contiguous)
      return for_parts(a, m, k, kHeight, from, [&](int64_t i) {
        pack_rows<kHeight>(from, to + i / kHeight * panel_bytes);
      });
    for_segments(a, m, k, kTransposedRows<kHeight>, from, [&](int64_t i, int64_t segment) {
      std::byte* panel = to + i / kHeight * panel_bytes;
      pack_rows_transposed<kHeight>(from, panel + segment * kHeight * kSegmentRowBytes,
                                    panel_bytes);
    });
  });
}

/// A piece of decoded rows: what packing starts from where a format has no source of its own.
template <class Word, int64_t kRows, int64_t kCols>
class DecodedPiece {
 public:
  using T = Decoded<Word>;
  using Source = PanelSource<Word, T>;

  void fill(const GemmOperand& x, GemmRange rows, GemmRange cols) {
    for (int64_t r = 0; r < rows.count; ++r)
      decode_to(x, rows.begin + r, cols, 0, values_ + r * kStride);
  }
  GemmOperand operand(bool k_contiguous) const {
    return {values_, plain_format_of<T>(), kStride, k_contiguous};
  }

 private:
  static constexpr int64_t kStride = kCols + 64 / static_cast<int64_t>(sizeof(T));
  alignas(64) T values_[kRows * kStride];
};

template <class Word>
void pack_b_decoded(const GemmOperand& b, GemmRange n, GemmRange k, std::byte* to,
                    int64_t panel_bytes) {
  constexpr int64_t kSegment = kLanes * Word::kElements, kSegmentBytes = kLanes * kSegmentRowBytes;
  if (b.k_contiguous) {
    constexpr int64_t kDepth = 16 * kSegment;
    DecodedPiece<Word, kLanes, kDepth> piece;
    typename decltype(piece)::Source from;
    for (int64_t i = 0; i < n.count; i += kLanes)
      for (int64_t k0 = 0; k0 < k.count; k0 += kDepth) {
        const GemmRange cols{n.begin + i, std::min(kLanes, n.count - i)};
        const GemmRange depth{k.begin + k0, std::min(kDepth, k.count - k0)};
        piece.fill(b, cols, depth);
        from.seek(piece.operand(true), {0, cols.count}, {0, depth.count});
        pack_columns_transposed(from,
                                to + i / kLanes * panel_bytes + k0 / kSegment * kSegmentBytes);
      }
    return;
  }
  constexpr int64_t kWidth = 256;
  DecodedPiece<Word, kSegment, kWidth> piece;
  typename decltype(piece)::Source from;
  for (int64_t k0 = 0; k0 < k.count; k0 += kSegment)
    for (int64_t i = 0; i < n.count; i += kWidth) {
      const GemmRange depth{k.begin + k0, std::min(kSegment, k.count - k0)};
      const GemmRange cols{n.begin + i, std::min(kWidth, n.count - i)};
      piece.fill(b, depth, cols);
      std::byte* panel = to + i / kLanes * panel_bytes + k0 / kSegment * kSegmentBytes;
      for_parts(
          piece.operand(false), {0, cols.count}, {0, depth.count}, kPackedColumns, from,
          [&](int64_t j) { pack_columns(from, panel + j / kLanes * panel_bytes, panel_bytes); });
    }
}

template <class Word>
void pack_b(const GemmOperand& b, GemmRange n, GemmRange k, std::byte* to, int64_t panel_bytes) {
  if (is_decoded(b.format)) return pack_b_decoded<Word>(b, n, k, to, panel_bytes);
  with_source<Word>(b.format, [&]<class Source>(std::type_identity<Source>) {
    Source from;
    if (b.k_contiguous)
      return for_parts(b, n, k, kLanes, from, [&](int64_t i) {
        pack_columns_transposed(from, to + i / kLanes * panel_bytes);
      });
    for_segments(b, n, k, kPackedColumns, from, [&](int64_t i, int64_t segment) {
      std::byte* panel = to + i / kLanes * panel_bytes;
      pack_columns(from, panel + segment * kLanes * kSegmentRowBytes, panel_bytes);
    });
  });
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
