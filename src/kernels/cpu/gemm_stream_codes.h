#pragma once

// C = A·Bᵀ for a few rows of A and weights stored as codes with scales (BF16 products and byte
// permutes): each block of codes is decoded once, in registers, for up to four rows, and scales
// are applied to sums. Each sum adds step by step along K whatever the number of rows. For files
// compiled once per instruction set.

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

/// sum[r] += row r of A times a step of a column.
template <class Row, int64_t R>
[[gnu::always_inline]] inline void add_step(const Row& column, const std::byte* from, int64_t s,
                                            int64_t units, const CodeRows<Row, R>& a,
                                            VecF (&sum)[R]) {
  const auto run = [&]<size_t kWords>(auto first, const __m512i(&words)[kWords], VecF scale) {
    VecF dots[R];
    unrolled<R>([&](auto r) {
      if constexpr (Row::kSums == Sums::kOfLanes)
        dots[r] = a.load_sums(r);
      else
        dots[r] = VecF{};
    });
    unrolled<R* static_cast<int64_t>(kWords)>([&](auto i) {
      constexpr int64_t r = i % R, v = i / R;
      dots[r] =
          UnitBF16::multiply_add(dots[r], a.load_words(r, first + v), bit_cast_vec<VecF>(words[v]));
    });
    unrolled<R>([&](auto r) { sum[r] = _mm512_fmadd_ps(dots[r], scale, sum[r]); });
  };
  const auto offset = [&](VecF lanes) {
    unrolled<R>([&](auto r) { sum[r] = _mm512_fmadd_ps(a.load_sums(r), lanes, sum[r]); });
  };
  column.step(from, s, units, run, offset);
}

/// A block of columns as four streams, a quarter of it each: four columns side by side, their sums
/// in registers all along K, for up to four rows at a time.
template <class Row>
class CodeDots {
 public:
  explicit CodeDots(const StreamBlock& x)
      : x_(x), row_bytes_(code_row_bytes(x.k)), steps_(x.k / Row::kStep) {}

  void run() const {
    const int64_t quarter = std::max<int64_t>(x_.cols / kStreams, 1);
    for (int64_t j = 0; j < quarter; ++j) all_rows(j, quarter);
    for (int64_t j = quarter * kStreams; j < x_.cols; j += kStreams) all_rows(j, 1);
  }

 private:
  static constexpr int64_t kUnits = Row::kStep / kUnitElements, kRowsOfCodes = 4;
  // How far ahead of its use memory is asked for.
  static constexpr int64_t kAhead = 2048, kLine = 64;

  template <int64_t R>
  CodeRows<Row, R> rows_at(int64_t row, int64_t step) const {
    const std::byte* a = x_.a + row * row_bytes_;
    return {a + step * Row::kVectors * kVectorBytes,
            a + word_row_bytes(x_.k, WordPair::kElements) + step * kVectorBytes, row_bytes_};
  }
  /// Column j + c·gap of the block; the last one again beyond it.
  int64_t column(int64_t j) const { return x_.col + std::min(j, x_.cols - 1); }

  const std::byte* stored(int64_t column) const {
    return static_cast<const std::byte*>(x_.b.data) + column * x_.b.stride;
  }

  static void prefetch(const std::byte* p) {
    for (int64_t line = 0; line < Row::kStepBytes; line += kLine) __builtin_prefetch(p + line);
  }

  void all_rows(int64_t j, int64_t gap) const {
    const int64_t groups = (x_.rows + kRowsOfCodes - 1) / kRowsOfCodes;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t row = x_.rows * g / groups, end = x_.rows * (g + 1) / groups;
      with_rows<kRowsOfCodes>(end - row, [&](auto rows) { four_columns<rows>(row, j, gap); });
    }
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
    add_step(weights, rest, steps_, (left + kUnitElements - 1) / kUnitElements,
             rows_at<R>(row, steps_), sum);
  }

  /// Columns j, j + gap, … for R rows from `row` on; those beyond the block are multiplied for
  /// nothing.
  template <int64_t R>
  [[gnu::flatten]] void four_columns(int64_t row, int64_t j, int64_t gap) const {
    const int64_t at[] = {column(j), column(j + gap), column(j + 2 * gap), column(j + 3 * gap)};
    const Row weights[] = {{x_.b, at[0]}, {x_.b, at[1]}, {x_.b, at[2]}, {x_.b, at[3]}};
    const std::byte* from[] = {stored(at[0]), stored(at[1]), stored(at[2]), stored(at[3])};
    VecF sum[kStreams][R];
    unrolled<R * kStreams>([&](auto i) { sum[i / R][i % R] = VecF{}; });
    auto a = rows_at<R>(row, 0);
    // Behind the last column of a stream, where those of a next block of as many columns would be.
    const int64_t left = (gap - j) * x_.b.stride, next_block = (kStreams - 1) * gap * x_.b.stride;
    for (int64_t s = 0; s < steps_; ++s, a.advance()) {
      const int64_t ahead = s * Row::kStepBytes + kAhead < left ? kAhead : kAhead + next_block;
      if (row == 0)
        for (int64_t c = 0; c < kStreams; ++c) prefetch(from[c] + ahead);
      unrolled<kStreams>([&](auto c) {
        add_step(weights[c], from[c], s, kUnits, a, sum[c]);
        from[c] += Row::kStepBytes;
      });
    }
    unrolled<kStreams>([&](auto c) { add_rest(weights[c], at[c], row, sum[c]); });
    unrolled<R>([&](auto r) {
      const VecF of_row[] = {sum[0][r], sum[1][r], sum[2][r], sum[3][r]};
      write_four(of_row, row + r, j, gap);
    });
  }

  void write_four(const VecF (&sum)[kStreams], int64_t row, int64_t j, int64_t gap) const {
    const Vec4 dots = reduce_four(sum);
    float* out = x_.sums + row * x_.sums_stride;
    for (int64_t c = 0; c < kStreams && j + c * gap < x_.cols; ++c) out[j + c * gap] = dots[c];
  }

  const StreamBlock& x_;
  const int64_t row_bytes_, steps_;
};

inline void code_dots(const StreamBlock& x) {
  with_code_row(x.b.format, [&](auto type) {
    using Row = typename decltype(type)::type;
    CodeDots<Row>(x).run();
  });
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS

#endif
