#pragma once

// C = A·B for a few rows of A and B as [K, N]: a few rows of B at a time stream side by side and
// are added to rows of sums that stay in cache. Each sum adds its products in the order of k. For
// files compiled once per instruction set.

#include "kernels/cpu/gemm_stream_source.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

constexpr int64_t kDepth = 4;  // words of K between a load and a store of the sums
// B is asked for this long before it is used: the latency of memory at the rate of one core.
constexpr int64_t kRowsAheadBytes = 8192;

/// Vectors of columns taken at once: one cache line of each row of B, which streams 1.4 times as
/// fast as two on Zen 5.
template <class T>
constexpr int64_t kVectorsOfLine = kVectorBytes < 64
                                       ? 2
                                       : 64 / kLanes / static_cast<int64_t>(sizeof(T));

/// The words of V·kLanes columns from one row of B (a word is one element of K), or from two, p and
/// p + stride.
template <class Word, class T>
struct Across {
  using Table = NoTable;
  template <int64_t V>
  static void load(const T* p, int64_t, const Table&, VecF (&out)[V]) {
    unrolled<V>([&](auto v) { out[v] = Word::convert(p + v * kLanes, Full{}); });
  }
};

template <class Word>
struct Across<Word, E4M3> {
  using Table = ScaledDecoder<Word>;
  template <int64_t V>
  static void load(const E4M3* p, int64_t, const Table& table, VecF (&out)[V]) {
    unrolled<V>([&](auto v) {
      out[v] = bit_cast_vec<VecF>(table(load_bits<VecQ>(p + v * kLanes, Full{})));
    });
  }
};

#if defined(__AVX512VBMI__)
template <>
struct Across<WordRounded, E4M3> {
  using Table = E4M3ToBF16;
  static void load(const E4M3* p, int64_t, const Table& table, VecF (&out)[4]) {
    const TwoVecW words = decode_words(load_bits<VecB>(p, Full{}), table);
    VecH half[4];
    __builtin_memcpy(half, &words, sizeof half);
    unrolled<4>([&](auto v) { out[v] = widen(half[v]); });
  }
};
#endif

#if defined(__AVX512BF16__)
/// a0 b0 a1 b1 … of the lower or upper halves of two rows.
template <int64_t kHalf, size_t... L>
inline VecF interleave_half(VecW a, VecW b, std::index_sequence<L...>) {
  return bit_cast_vec<VecF>(__builtin_shufflevector(
      a, b, static_cast<int>(kHalf * kLanes + int64_t{L / 2} + (L % 2 ? 2 * kLanes : 0))...));
}
inline void interleave(VecW a, VecW b, VecF& low, VecF& high) {
  constexpr auto lanes = std::make_index_sequence<2 * kLanes>();
  low = interleave_half<0>(a, b, lanes);
  high = interleave_half<1>(a, b, lanes);
}

template <>
struct Across<WordPair, BF16> {
  using Table = NoTable;
  template <int64_t V>
  static void load(const BF16* p, int64_t stride, const Table&, VecF (&out)[V]) {
    unrolled<V / 2>([&](auto i) {
      const BF16* at = p + i * 2 * kLanes;
      interleave(load_bits<VecW>(at, Full{}), load_bits<VecW>(at + stride, Full{}), out[2 * i],
                 out[2 * i + 1]);
    });
  }
};
template <>
struct Across<WordPair, float> {
  using Table = NoTable;
  template <int64_t V>
  static void load(const float* p, int64_t stride, const Table&, VecF (&out)[V]) {
    unrolled<V>([&](auto v) {
      out[v] = bit_cast_vec<VecF>(words_across<WordPair>(p + v * kLanes, stride, kLanes, 2));
    });
  }
};
template <>
struct Across<WordPair, E4M3> {
  using Table = E4M3ToBF16;
  static void load(const E4M3* p, int64_t stride, const Table& table, VecF (&out)[4]) {
    const TwoVecW a = decode_words(load_bits<VecB>(p, Full{}), table);
    const TwoVecW b = decode_words(load_bits<VecB>(p + stride, Full{}), table);
    interleave(a.first, b.first, out[0], out[1]);
    interleave(a.second, b.second, out[2], out[3]);
  }
};
#endif

template <class Unit, class T>
class RowStream {
 public:
  explicit RowStream(const StreamBlock& x) : RowStream(x, word_row_bytes(x.k, Word::kElements)) {}
  RowStream(const StreamBlock& x, int64_t row_bytes)
      : x_(x), row_bytes_(row_bytes), tables_(reinterpret_cast<Table*>(x.tables)) {
    const int64_t step_bytes = kDepth * kElements * x.cols * static_cast<int64_t>(sizeof(T));
    rows_ahead_ = std::max<int64_t>(kRowsAheadBytes / step_bytes, 1) * kDepth * kElements;
  }

  void run() {
    clear();
    add();
  }

  void clear() {
    const auto sums_bytes =
        static_cast<size_t>((x_.cols + kCols - 1) / kCols * kCols) * sizeof(float);
    for (int64_t m = 0; m < x_.rows; ++m) std::memset(x_.sums + m * x_.sums_stride, 0, sums_bytes);
  }

  void add() {
    int64_t k = 0;
    for (; k + kDepth * kElements <= x_.k; k += kDepth * kElements) add_rows<kDepth>(k);
    for (; k < x_.k; k += kElements) add_rows<1>(k);
  }

 private:
  using Word = typename Unit::Word;
  using Table = typename Across<Word, T>::Table;
  static constexpr int64_t kElements = Word::kElements;
  static constexpr int64_t V = kVectorsOfLine<T>;
  static constexpr int64_t kCols = V * kLanes;
  static_assert(sizeof(Table) <= kScaleTableBytes);

  const T* row(int64_t k, int64_t j) const {
    return static_cast<const T*>(x_.b.data) + k * x_.b.stride + x_.col + j;
  }
  const Table& table(int64_t j) const {
    return tables_[std::is_same_v<T, E4M3> ? (x_.col + j) / kScaleSide - x_.col / kScaleSide : 0];
  }

  /// Tables for the row of scales that k begins.
  void make_tables(int64_t k) {
    if constexpr (std::is_same_v<T, E4M3>) {
      const int64_t first = x_.col / kScaleSide, last = (x_.col + x_.cols - 1) / kScaleSide;
      for (int64_t s = first; s <= last; ++s)
        tables_[s - first] = make_table<Table>(*x_.b.scale_at(k, s * kScaleSide));
    }
  }

  /// Adds the products with W words of K.
  template <int64_t W>
  void add_rows(int64_t k) {
    if (k == 0 || (x_.b.first_row + k) % kScaleSide == 0) make_tables(k);
    int64_t j = 0;
    if (k + W * kElements <= x_.k)
      for (; j + kCols <= x_.cols; j += kCols) {
        // Not in a function of its own: GCC drops calls that only prefetch.
        for (int64_t i = 0; i < W * kElements; ++i) __builtin_prefetch(row(k + rows_ahead_ + i, j));
        add_wide<W>(k, row(k, j), x_.b.stride, j);
      }
    for (; j < x_.cols; j += kCols) add_corner<W>(k, j);
  }

  template <int64_t W>
  [[gnu::flatten]] void add_wide(int64_t k, const T* p, int64_t stride, int64_t j) const {
    VecF b[W][V];
    const Table& t = table(j);
    unrolled<W>(
        [&](auto w) { Across<Word, T>::load(p + w * kElements * stride, stride, t, b[w]); });
    const std::byte* a = x_.a + k / kElements * 4;
    float* sums = x_.sums + j;
    for (int64_t m = 0; m < x_.rows; ++m, a += row_bytes_, sums += x_.sums_stride) {
      VecF sum[V];
      unrolled<V>([&](auto v) { sum[v] = load(sums + v * kLanes, Full{}); });
      unrolled<W>([&](auto w) {
        const VecF a_w = Unit::broadcast(a + w * 4);
        unrolled<V>([&](auto v) { sum[v] = Unit::multiply_add(sum[v], a_w, b[w][v]); });
      });
      unrolled<V>([&](auto v) { store(sums + v * kLanes, sum[v], Full{}); });
    }
  }

  /// Where B has fewer columns or rows: through a copy padded with zeros.
  template <int64_t W>
  void add_corner(int64_t k, int64_t j) const {
    T whole[W * kElements][kCols] = {};
    const int64_t rows = std::min(W * kElements, x_.k - k), cols = std::min(kCols, x_.cols - j);
    for (int64_t i = 0; i < rows; ++i)
      __builtin_memcpy(whole[i], row(k + i, j), static_cast<size_t>(cols) * sizeof(T));
    add_wide<W>(k, whole[0], kCols, j);
  }

  const StreamBlock& x_;
  const int64_t row_bytes_;
  Table* const tables_;
  int64_t rows_ahead_ = 0;
};

/// Formats that are decoded first: a few rows of B at a time.
template <class Unit>
void stream_decoded_rows(const StreamBlock& x) {
  using Word = typename Unit::Word;
  using T = Decoded<Word>;
  constexpr int64_t kRows = 4 * kDepth, kMaxCols = 512;
  alignas(64) T rows[kRows][kMaxCols];
  StreamBlock piece = x;
  piece.b = {rows, plain_format_of<T>(), kMaxCols, false};
  piece.col = 0;
  const int64_t row_bytes = word_row_bytes(x.k, Word::kElements);
  RowStream<Unit, T>(piece, row_bytes).clear();
  for (int64_t k = 0; k < x.k; k += kRows, piece.a += kRows / Word::kElements * 4) {
    piece.k = std::min(kRows, x.k - k);
    for (int64_t r = 0; r < piece.k; ++r) decode_to(x.b, k + r, {x.col, x.cols}, 0, rows[r]);
    RowStream<Unit, T>(piece, row_bytes).add();
  }
}

template <class Unit>
void stream_nn(const StreamBlock& x) {
  if (is_decoded(x.b.format)) return stream_decoded_rows<Unit>(x);
  with_element(x.b.format, [&](auto t) { RowStream<Unit, decltype(t)>(x).run(); });
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
