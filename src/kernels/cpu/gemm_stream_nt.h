#pragma once

// C = A·Bᵀ for a few rows of A. A block of columns is read as four streams, a quarter of its
// columns each, one column of every quarter at a time: hardware follows four long streams, and each
// loaded row of A meets four columns. Each element of C has one vector of partial sums over k,
// whatever the number of rows, so a row's bits do not depend on the others. For files compiled once
// per instruction set.

#include "kernels/cpu/gemm_stream_codes.h"
#include "kernels/cpu/gemm_stream_fused.h"
#include "kernels/cpu/gemm_stream_source.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

// Rows whose sums fit the registers beside what decodes four columns. More rows pass over the same
// columns again, which are in L1 or L2 by then.
constexpr int64_t kRowsAtOnce = kVectorBytes < 64 ? 2 : 6;
// How far ahead of the loads a stream is asked for. Measured on Zen 5, where decoding E4M3 leaves
// the out-of-order window too short to cover the latency of memory.
template <class T>
constexpr int64_t kAheadBytes = sizeof(T) == 1 ? 2560 : 1024;

/// Four columns as stored, `gap` elements apart, and where to prefetch for what comes after them:
/// at element k of a column, ahead_low elements further, from turn on ahead_high.
template <class Word, class T>
struct StoredColumns {
  using Source = AlongK<Word, T>;
  static constexpr bool kPrefetch = true;
  const T* p;
  int64_t gap;
  const typename Source::Table* tables;
  int64_t ahead_low, turn, ahead_high;

  int64_t ahead(int64_t k) const { return k < turn ? ahead_low : ahead_high; }
  const typename Source::Table& table(int64_t k) const {
    return tables[std::is_same_v<T, E4M3> ? k / kScaleSide : 0];
  }
};

/// Four columns in L1.
template <class Word, class T>
struct NearColumns {
  using Source = AlongK<Word, T>;
  static constexpr bool kPrefetch = false;
  const T* p;
  int64_t gap;

  static NoTable table(int64_t) { return {}; }
};

/// sum[r][c] += products of R rows of A, from words row_bytes apart, with elements [0, k) of C
/// columns. Two steps at a time lie under one scale.
template <class Unit, int64_t R, int64_t C, class Columns>
inline void add_dots(const std::byte* a, int64_t row_bytes, int64_t k, const Columns& columns,
                     VecF (&sum)[R][C]) {
  using Source = typename Columns::Source;
  constexpr int64_t kStep = Source::kStep, kVectors = Source::kVectors;
  static_assert(kScaleSide % (2 * kStep) == 0);
  const auto multiply = [&](const VecF(&b)[C][kVectors]) {
    unrolled<R * kVectors>([&](auto i) {
      constexpr int64_t r = i / kVectors, v = i % kVectors;
      VecF a_r;
      __builtin_memcpy(&a_r, a + r * row_bytes + v * kVectorBytes, sizeof a_r);
      unrolled<C>([&](auto c) { sum[r][c] = Unit::multiply_add(sum[r][c], a_r, b[c][v]); });
    });
    a += kVectors * kVectorBytes;
  };
  int64_t at = 0;
  for (; at + 2 * kStep <= k; at += 2 * kStep) {
    const auto* p = columns.p + at;
    if constexpr (Columns::kPrefetch) {
      const auto* ahead = p + columns.ahead(at);
      for (int64_t c = 0; c < C; ++c, ahead += columns.gap) {  // in a lambda GCC drops it
        __builtin_prefetch(ahead);
        __builtin_prefetch(ahead + kStep);
      }
    }
    const auto& table = columns.table(at);
    unrolled<2>([&](auto half) {
      VecF b[C][kVectors];
      unrolled<C>([&](auto c) { Source::load(p + c * columns.gap + half * kStep, table, b[c]); });
      multiply(b);
    });
  }
  for (; at < k; at += kStep) {
    VecF b[C][kVectors];
    for (int64_t c = 0; c < C; ++c)
      load_tail<typename Unit::Word>(columns.p + c * columns.gap + at, std::min(kStep, k - at),
                                     columns.table(at), b[c]);
    multiply(b);
  }
}

template <class Unit, class T>
class DotStream {
 public:
  explicit DotStream(const StreamBlock& x)
      : x_(x),
        row_bytes_(word_row_bytes(x.k, Word::kElements)),
        tables_(reinterpret_cast<Table*>(x.tables)),
        quarter_(x.cols / kStreams) {}

  void run() {
    make_tables();
    const int64_t groups = (x_.rows + kRowsAtOnce - 1) / kRowsAtOnce;
    for (int64_t j = 0; j < quarter_; ++j)
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t row = x_.rows * g / groups, end = x_.rows * (g + 1) / groups;
        with_rows<kRowsAtOnce>(end - row, [&](auto rows) { columns_by_rows<rows>(j, row); });
      }
    for (int64_t j = quarter_ * kStreams; j < x_.cols; ++j) last_column(j);
  }

 private:
  using Word = typename Unit::Word;
  using Stored = StoredColumns<Word, T>;
  using Table = typename Stored::Source::Table;
  static_assert(sizeof(Table) <= kScaleTableBytes);

  void make_tables() {
    if constexpr (std::is_same_v<T, E4M3>)
      for (int64_t k = 0; k < x_.k; k += kScaleSide)
        tables_[k / kScaleSide] = make_table<Table>(*x_.b.scale_at(x_.col, k));
  }

  const T* column(int64_t j) const {
    return static_cast<const T*>(x_.b.data) + (x_.col + j) * x_.b.stride;
  }

  /// Columns j of the quarters. Prefetching goes on in the next columns of each; from the last
  /// ones, where the quarters of a next block of as many columns would be.
  Stored columns(int64_t j) const {
    constexpr int64_t kAhead = kAheadBytes<T> / static_cast<int64_t>(sizeof(T));
    const int64_t skipped = kAhead / x_.k, rest = kAhead % x_.k;
    const auto further = [&](int64_t columns) {
      const bool beyond = j + columns >= quarter_;
      return (columns + (beyond ? (kStreams - 1) * quarter_ : 0)) * x_.b.stride;
    };
    return {column(j),   quarter_ * x_.b.stride,
            tables_,     further(skipped) + rest,
            x_.k - rest, further(skipped + 1) + rest - x_.k};
  }

  template <int64_t R>
  [[gnu::flatten]] void columns_by_rows(int64_t j, int64_t row) const {
    VecF sum[R][kStreams];
    unrolled<R * kStreams>([&](auto i) { sum[i / kStreams][i % kStreams] = VecF{}; });
    add_dots<Unit>(x_.a + row * row_bytes_, row_bytes_, x_.k, columns(j), sum);
    unrolled<R>([&](auto r) { store(sum[r], row + r, j); });
  }

  void store(const VecF (&sum)[kStreams], int64_t row, int64_t j) const {
    const Vec4 dots = reduce_four(sum);
    float* out = x_.sums + row * x_.sums_stride + j;
    for (int64_t c = 0; c < kStreams; ++c) out[c * quarter_] = dots[c];
  }

  /// One column of the at most three left over, for one row after the other.
  void last_column(int64_t j) const {
    using Source = typename Stored::Source;
    for (int64_t r = 0; r < x_.rows; ++r) {
      VecF sum = {};
      const std::byte* a = x_.a + r * row_bytes_;
      for (int64_t k = 0; k < x_.k; k += Source::kStep) {
        VecF b[Source::kVectors];
        load_tail<Word>(column(j) + k, std::min(Source::kStep, x_.k - k),
                        tables_[std::is_same_v<T, E4M3> ? k / kScaleSide : 0], b);
        for (const VecF& b_v : b) {
          VecF a_r;
          __builtin_memcpy(&a_r, a, sizeof a_r);
          sum = Unit::multiply_add(sum, a_r, b_v);
          a += kVectorBytes;
        }
      }
      x_.sums[r * x_.sums_stride + j] = reduce_add(sum);
    }
  }

  const StreamBlock& x_;
  const int64_t row_bytes_;
  Table* const tables_;
  const int64_t quarter_;
};

/// The same for formats that are decoded first: a piece of K of eight columns at a time, an eighth
/// of the block apart. One or two rows meet all eight together, for four sums would wait for each
/// other; more rows meet four and four. The order of additions is the same.
template <class Unit>
class DecodedDots {
 public:
  explicit DecodedDots(const StreamBlock& x)
      : x_(x),
        row_bytes_(word_row_bytes(x.k, Word::kElements)),
        gap_(std::max<int64_t>(x.cols / kColumns, 1)) {
    const int64_t piece_bytes = x.b.bytes(kPiece);
    ahead_ = (kAheadBytes + piece_bytes - 1) / piece_bytes * piece_bytes;
  }

  void run() {
    for (int64_t j = 0; j < gap_; ++j) columns(j, gap_);
    for (int64_t j = gap_ * kColumns; j < x_.cols; j += kColumns) columns(j, 1);
  }

 private:
  using Word = typename Unit::Word;
  using T = Decoded<Word>;
  using Columns = NearColumns<Word, T>;
  static constexpr int64_t kColumns = 2 * kStreams;
  static constexpr int64_t kPiece = 2048 / static_cast<int64_t>(sizeof(T));
  static constexpr int64_t kStride = kPiece + 64 / static_cast<int64_t>(sizeof(T));
  static constexpr int64_t kRowsOfAll = 2;
  /// How far ahead of its use a column is asked for, at least.
  static constexpr int64_t kAheadBytes = 768;

  /// Columns j, j + gap, …; those beyond the block are multiplied for nothing.
  void columns(int64_t j, int64_t gap) {
    std::memset(sums_, 0, static_cast<size_t>(x_.rows) * sizeof sums_[0]);
    for (int64_t k = 0; k < x_.k; k += kPiece) {
      const int64_t count = std::min(kPiece, x_.k - k);
      for (int64_t c = 0; c < kColumns; ++c)
        decode_to(x_.b, x_.col + std::min(j + c * gap, x_.cols - 1), {k, count}, ahead_, piece_[c]);
      add_piece(k, count);
    }
    for (int64_t m = 0; m < x_.rows; ++m) {
      float* out = x_.sums + m * x_.sums_stride;
      const Vec4 low = reduce_four(sums_[m]), high = reduce_four(sums_[m] + kStreams);
      for (int64_t c = 0; c < kColumns && j + c * gap < x_.cols; ++c)
        out[j + c * gap] = c < kStreams ? low[c] : high[c - kStreams];
    }
  }

  void add_piece(int64_t k, int64_t count) {
    if (x_.rows <= kRowsOfAll)
      return with_rows<kRowsOfAll>(x_.rows,
                                   [&](auto rows) { add_rows<rows, kColumns>(0, 0, k, count); });
    const int64_t groups = (x_.rows + kRowsAtOnce - 1) / kRowsAtOnce;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t row = x_.rows * g / groups, end = x_.rows * (g + 1) / groups;
      with_rows<kRowsAtOnce>(end - row, [&](auto rows) {
        for (int64_t c = 0; c < kColumns; c += kStreams) add_rows<rows, kStreams>(row, c, k, count);
      });
    }
  }

  template <int64_t R, int64_t C>
  [[gnu::flatten]] void add_rows(int64_t row, int64_t column, int64_t k, int64_t count) {
    VecF sum[R][C];
    unrolled<R * C>([&](auto i) { sum[i / C][i % C] = sums_[row + i / C][column + i % C]; });
    add_dots<Unit>(x_.a + row * row_bytes_ + k / Word::kElements * 4, row_bytes_, count,
                   Columns{piece_[column], kStride}, sum);
    unrolled<R * C>([&](auto i) { sums_[row + i / C][column + i % C] = sum[i / C][i % C]; });
  }

  const StreamBlock& x_;
  const int64_t row_bytes_, gap_;
  int64_t ahead_;
  VecF sums_[kSmallM][kColumns];
  alignas(64) T piece_[kColumns][kStride];
};

/// Whether weights of a format meet A as codes, in their order.
template <class Unit>
constexpr bool multiplies_codes([[maybe_unused]] StorageFormat format) {
#if defined(FATHOM_CODE_DOTS)
  return std::is_same_v<Unit, UnitBF16> && is_packed(format);
#else
  return false;
#endif
}

template <class Unit>
int64_t packed_bytes_nt(int64_t rows, int64_t k) {
  int64_t bytes = packed_word_bytes<typename Unit::Word>(rows, k);
#if defined(FATHOM_CODE_DOTS)
  if (std::is_same_v<Unit, UnitBF16>) bytes = std::max(bytes, packed_code_bytes(rows, k));
#endif
  return bytes;
}

template <class Unit>
void pack_nt(const GemmOperand& a, const GemmOperand& b, int64_t rows, int64_t k, std::byte* to) {
#if defined(FATHOM_CODE_DOTS)
  if (multiplies_codes<Unit>(b.format)) return pack_for_codes(a, b, rows, k, to);
#endif
  pack_words<typename Unit::Word>(a, b, rows, k, to);
}

template <class Unit>
void stream_nt(const StreamBlock& x) {
#if defined(FATHOM_CODE_DOTS)
  if (multiplies_codes<Unit>(x.b.format)) return code_dots(x);
  if constexpr (std::is_same_v<Unit, UnitBF16>)
    if (x.b.format == StorageFormat::kF16 && x.rows <= kFusedRows) return fused_dots(x);
#endif
  if (is_decoded(x.b.format)) return DecodedDots<Unit>(x).run();
  with_element(x.b.format, [&](auto t) { DotStream<Unit, decltype(t)>(x).run(); });
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
