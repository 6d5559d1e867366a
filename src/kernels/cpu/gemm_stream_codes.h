#pragma once

// C = A·Bᵀ for a few rows of A and weights stored as codes with scales (BF16 products and byte
// permutes): each block of codes is decoded once, in registers, for up to eight rows, and scales
// are applied to sums. Each sum adds step by step along K whatever the number of rows. For files
// compiled once per instruction set.

#include <array>
#include <numeric>

#include "kernels/cpu/gemm_codes_vbmi.h"
#include "kernels/cpu/gemm_stream_source.h"

#if defined(__AVX512BF16__) && defined(__AVX512VBMI__) && !defined(__AMX_BF16__)
#define FATHOM_CODE_DOTS 1

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

// A row of A as packed: words in the order of the format's codes, then for each step a vector with
// the sums that the format asks for.
constexpr int64_t kUnitElements = 32;

inline int64_t code_row_bytes(int64_t k) {
  const int64_t steps = (k + Steps128::kStep - 1) / Steps128::kStep;
  return word_row_bytes(k, WordPair::kElements) + steps * kVectorBytes;
}
inline int64_t packed_code_bytes(int64_t rows, int64_t k) {
  return rows * code_row_bytes(k);
}

template <class Row>
using StepWords = __m512i[Row::kVectors];

/// Where the words of vector v come from, of those in natural vectors 2·pair and 2·pair + 1.
struct alignas(64) Places {
  int16_t word[32];
  uint32_t here;
};
template <class Row>
constexpr Places places_of(int v, int pair) {
  Places p{};
  for (int w = 0; w < 32; ++w) {
    p.word[w] = static_cast<int16_t>(Row::element(v, w) % 64);
    if (Row::element(v, w) / 64 == pair) p.here |= uint32_t{1} << w;
  }
  return p;
}

/// Vector v of the format's order.
template <class Row, int v>
__m512i ordered(const StepWords<Row>& natural) {
  __m512i words = natural[0];
  unrolled<Row::kVectors / 2>([&](auto pair) {
    static constexpr Places kPlaces = places_of<Row>(v, pair);
    const __m512i here =
        _mm512_permutex2var_epi16(natural[2 * pair], load_512(kPlaces.word), natural[2 * pair + 1]);
    words = _mm512_mask_mov_epi16(words, kPlaces.here, here);
  });
  return words;
}

inline VecF pair_sums(VecF sum, __m512i words) {
  const __m512i ones = _mm512_set1_epi16(0x3f80);
  return UnitBF16::multiply_add(sum, bit_cast_vec<VecF>(words), bit_cast_vec<VecF>(ones));
}

/// The sums of activations that Row's offsets meet, of a step in natural order.
template <class Row>
VecF sums_of_units(const StepWords<Row>& natural) {
  constexpr int64_t kLanesOfSum = Row::kSummed / 2;
  alignas(64) float sums[16] = {};
  for (int64_t v = 0; v < Row::kVectors; ++v) {
    alignas(64) float pairs[16];
    store(pairs, pair_sums(VecF{}, natural[v]), Full{});
    for (int64_t first = 0; first < 16; first += kLanesOfSum)
      Row::place_sum((16 * v + first) / kLanesOfSum,
                     std::accumulate(pairs + first, pairs + first + kLanesOfSum, 0.0f), sums);
  }
  return load(sums, Full{});
}

/// Orders a step of a row of A, in place, and makes its sums.
template <class Row>
void finish_step(std::byte* words, std::byte* sums) {
  __m512i natural[Row::kVectors];
  unrolled<Row::kVectors>([&](auto v) { natural[v] = load_512(words + v * kVectorBytes); });
  VecF of_lanes{};
  unrolled<Row::kVectors>([&](auto v) {
    const __m512i x = ordered<Row, v>(natural);
    _mm512_storeu_si512(words + v * kVectorBytes, x);
    of_lanes = pair_sums(of_lanes, x);
  });
  if constexpr (Row::kSums == Sums::kOfLanes) _mm512_storeu_ps(sums, of_lanes * Row::kSumFactor);
  if constexpr (Row::kSums == Sums::kPlaced) _mm512_storeu_ps(sums, sums_of_units<Row>(natural));
}

inline void pack_for_codes(const GemmOperand& a, const GemmOperand& b, int64_t rows, int64_t k,
                           std::byte* to) {
  const int64_t row_bytes = code_row_bytes(k);
  with_code_row(b.format, [&](auto type) {
    using Row = typename decltype(type)::type;
    for (int64_t m = 0; m < rows; ++m) {
      std::byte* words = to + m * row_bytes;
      pack_word_row<WordPair>(a, m, k, words);
      std::byte* sums = words + word_row_bytes(k, WordPair::kElements);
      for (int64_t s = 0; s * Row::kStep < k; ++s)
        finish_step<Row>(words + s * Row::kVectors * kVectorBytes, sums + s * kVectorBytes);
    }
  });
}

/// R rows of A: those of a step, kStep elements further for each.
template <class Row, int64_t R>
struct CodeRows {
  const std::byte* words;
  const std::byte* sums;
  int64_t row_bytes;

  VecF load_words(int64_t r, int64_t v) const {
    return at(words + r * row_bytes + v * kVectorBytes);
  }
  VecF load_sums(int64_t r) const { return at(sums + r * row_bytes); }
  /// What products of a run start from.
  VecF first_sum(int64_t r) const {
    if constexpr (Row::kSums == Sums::kOfLanes) return load_sums(r);
    return VecF{};
  }
  void advance() {
    words += Row::kVectors * kVectorBytes;
    sums += kVectorBytes;
  }

 private:
  static VecF at(const std::byte* p) {
    VecF v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  }
};

/// sum[c][r] += row r of A times a step of column c. Each vector of A that is loaded meets two
/// columns.
template <class Row, int64_t R, int64_t C>
[[gnu::always_inline]] inline void add_step(const Row* columns, const std::byte* const* from,
                                            int64_t s, int64_t units, const CodeRows<Row, R>& a,
                                            VecF (*sum)[R]) {
  constexpr int64_t kRunVectors = Row::kRunVectors;
  using Factors = decltype(columns->begin(*from, s, units));
  Factors factors[C];
  unrolled<C>([&](auto c) { factors[c] = columns[c].begin(from[c], s, units); });
  unrolled<Row::kVectors / kRunVectors>([&](auto i) {
    Words<kRunVectors> words[C];
    VecF scale[C];
    unrolled<C>(
        [&](auto c) { scale[c] = columns[c].template run<i>(factors[c], from[c], words[c]); });
    unrolled<R>([&](auto r) {
      VecF dots[C];
      unrolled<C>([&](auto c) { dots[c] = a.first_sum(r); });
      unrolled<kRunVectors>([&](auto v) {
        VecF x = a.load_words(r, i * kRunVectors + v);
        if constexpr (C > 1) asm("" : "+v"(x));  // one load
        unrolled<C>([&](auto c) {
          dots[c] = UnitBF16::multiply_add(dots[c], x, bit_cast_vec<VecF>(words[c][v]));
        });
      });
      unrolled<C>([&](auto c) { sum[c][r] = _mm512_fmadd_ps(dots[c], scale[c], sum[c][r]); });
    });
  });
  unrolled<C>([&](auto c) {
    columns[c].offset(factors[c], s, units, [&](VecF lanes) {
      unrolled<R>([&](auto r) { sum[c][r] = _mm512_fmadd_ps(a.load_sums(r), lanes, sum[c][r]); });
    });
  });
}

/// A block of columns as C streams side by side, an equal part of it each: four for one or two
/// rows, two for up to eight rows at a time. Sums stay in registers along as much of K as lets the
/// words of A stay in L1.
template <class Row>
class CodeDots {
 public:
  explicit CodeDots(const StreamBlock& x)
      : x_(x), row_bytes_(code_row_bytes(x.k)), steps_(x.k / Row::kStep) {}

  void run() {
    if (x_.rows <= kFewRows) return groups_of_rows<kStreams, 1, kFewRows>();
    groups_of_rows<2, kFewRows + 1, kManyRows>();
  }

 private:
  static constexpr int64_t kUnits = Row::kStep / kUnitElements;
  static constexpr int64_t kFewRows = 2;
#if defined(FATHOM_FEW_KERNELS)
  static constexpr int64_t kManyRows = 4;
#else
  static constexpr int64_t kManyRows = 8;
#endif
  static constexpr int64_t kWordsBytes = 32 << 10;  ///< of A, at a time
  static constexpr int64_t kCodesBytes = 4 << 10;   ///< of a column, at a time
  static constexpr int64_t kKeptColumns = 32;       ///< whose sums wait for more of K, in L1
  // How far ahead of its use memory is asked for.
  static constexpr int64_t kAhead = 2048, kLine = 64;

  /// Columns [col, col + cols) of the block and steps [begin, end) of K.
  struct Part {
    int64_t col, cols, begin, end;
  };

  /// Each group meets the whole block, which then comes from L2.
  template <int64_t C, int64_t Min, int64_t Max>
  void groups_of_rows() {
    const int64_t groups = (x_.rows + Max - 1) / Max;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t row = x_.rows * g / groups, end = x_.rows * (g + 1) / groups;
      with_rows<Max, Min>(end - row, [&](auto rows) { all_parts<C, rows>(row); });
    }
  }

  template <int64_t C, int64_t R>
  void all_parts(int64_t row) {
    constexpr int64_t kStepWords = R * Row::kVectors * kVectorBytes;
    const int64_t parts = std::max<int64_t>({1, (steps_ * kStepWords - 1) / kWordsBytes + 1,
                                             (steps_ * Row::kStepBytes - 1) / kCodesBytes + 1});
    const int64_t width = parts == 1 ? x_.cols : kKeptColumns;
    for (int64_t col = 0; col < x_.cols; col += width)
      for (int64_t i = 0; i < parts; ++i)
        all_columns<C, R>(row, {col, std::min(width, x_.cols - col), steps_ * i / parts,
                                steps_ * (i + 1) / parts});
  }

  template <int64_t C, int64_t R>
  void all_columns(int64_t row, const Part& part) {
    const int64_t gap = std::max<int64_t>(part.cols / C, 1);
    for (int64_t j = 0; j < gap; ++j) columns<C, R>(row, part, j, gap);
    for (int64_t j = gap * C; j < part.cols; j += C) columns<C, R>(row, part, j, 1);
  }

  template <int64_t R>
  CodeRows<Row, R> rows_at(int64_t row, int64_t step) const {
    const std::byte* a = x_.a + row * row_bytes_;
    return {a + step * Row::kVectors * kVectorBytes,
            a + word_row_bytes(x_.k, WordPair::kElements) + step * kVectorBytes, row_bytes_};
  }
  const std::byte* stored(int64_t column) const {
    return static_cast<const std::byte*>(x_.b.data) + column * x_.b.stride;
  }

  static void prefetch(const std::byte* p) {
    for (int64_t line = 0; line < Row::kStepBytes; line += kLine) __builtin_prefetch(p + line);
  }
  /// From a column's part to what is used at least kAhead bytes later: a column further on in the
  /// stream; behind the last one, the first ones further along K; at last where the streams of a
  /// next part would be.
  template <int64_t C>
  int64_t distance_ahead(const Part& part, int64_t j, int64_t gap) const {
    const int64_t bytes = std::max<int64_t>((part.end - part.begin) * Row::kStepBytes, 1);
    const int64_t columns = (kAhead + bytes - 1) / bytes;
    if (j + columns < gap) return columns * x_.b.stride;
    if (part.end < steps_) return (columns - gap) * x_.b.stride + bytes;
    return ((C - 1) * gap + columns) * x_.b.stride - part.begin * Row::kStepBytes;
  }

  /// What is left of K after whole steps.
  template <int64_t R>
  [[gnu::always_inline]] void add_rest(const Row& weights, int64_t column, int64_t row,
                                       VecF (&sum)[R]) const {
    const int64_t left = x_.k - steps_ * Row::kStep;
    if (left == 0) return;
    std::byte rest[Row::kStepBytes] = {};
    std::memcpy(rest, stored(column) + steps_ * Row::kStepBytes,
                static_cast<size_t>(x_.b.bytes(left)));
    const std::byte* from = rest;
    add_step<Row, R, 1>(&weights, &from, steps_, (left + kUnitElements - 1) / kUnitElements,
                        rows_at<R>(row, steps_), &sum);
  }

  /// Columns j, j + gap, … of a part for R rows from `row` on; those beyond the part are its last
  /// one again, for nothing.
  template <int64_t C, int64_t R>
  [[gnu::flatten]] void columns(int64_t row, const Part& part, int64_t j, int64_t gap) {
    int64_t at[C];
    const std::byte* from[C];
    unrolled<C>([&](auto c) {
      at[c] = x_.col + part.col + std::min(j + c * gap, part.cols - 1);
      from[c] = stored(at[c]) + part.begin * Row::kStepBytes;
    });
    const auto weights = rows_of_columns(at, std::make_index_sequence<C>());
    const auto kept = [&](auto i) { return kept_ + (j + i / R * gap) * R + i % R; };
    VecF sum[C][R];
    if (part.begin == 0)
      unrolled<R * C>([&](auto i) { sum[i / R][i % R] = VecF{}; });
    else
      unrolled<R * C>([&](auto i) { sum[i / R][i % R] = *kept(i); });
    auto a = rows_at<R>(row, part.begin);
    const int64_t distance = distance_ahead<C>(part, j, gap);
    for (int64_t s = part.begin; s < part.end; ++s, a.advance()) {
      for (int64_t c = 0; c < C; ++c) prefetch(from[c] + distance);  // in a lambda GCC drops it
      unrolled<C / 2>([&](auto pair) {
        constexpr int64_t c = 2 * pair;
        add_step<Row, R, 2>(&weights[c], &from[c], s, kUnits, a, &sum[c]);
      });
      unrolled<C>([&](auto c) { from[c] += Row::kStepBytes; });
    }
    if (part.end < steps_) {
      unrolled<R * C>([&](auto i) { *kept(i) = sum[i / R][i % R]; });
      return;
    }
    unrolled<C>([&](auto c) { add_rest(weights[c], at[c], row, sum[c]); });
    write<C, R>(sum, (part.cols - j - 1) / gap + 1, gap,
                x_.sums + row * x_.sums_stride + part.col + j);
  }
  template <size_t... c>
  std::array<Row, sizeof...(c)> rows_of_columns(const int64_t* at,
                                                std::index_sequence<c...>) const {
    return {Row(x_.b, at[c])...};
  }

  /// Of the columns, gap apart, only so many are present.
  template <int64_t C, int64_t R>
  [[gnu::always_inline]] void write(const VecF (&sum)[C][R], int64_t present, int64_t gap,
                                    float* out) const {
    unrolled<(R * C + 3) / 4>([&](auto quad) {
      constexpr int64_t first = 4 * quad, count = std::min<int64_t>(4, R * C - first);
      VecF four[4] = {};
      unrolled<count>([&](auto i) { four[i] = sum[(first + i) % C][(first + i) / C]; });
      const Vec4 dots = reduce_four(four);
      unrolled<count>([&](auto i) {
        constexpr int64_t lane = i, r = (first + lane) / C, c = (first + lane) % C;
        if (c < present) out[r * x_.sums_stride + c * gap] = dots[lane];
      });
    });
  }

  const StreamBlock& x_;
  const int64_t row_bytes_, steps_;
  VecF kept_[(kKeptColumns + kStreams) * kManyRows];
};

inline void code_dots(const StreamBlock& x) {
  with_code_row(x.b.format, [&](auto type) { CodeDots<typename decltype(type)::type>(x).run(); });
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS

#endif
