#pragma once

// The products of absorbed decode on vector units. Both keep a block of sums in registers and
// broadcast the words of one operand: of the cache for the scores, of the softmax weights for the
// values. Neither operand is copied. For files compiled once per instruction set.

#include <algorithm>

#include "kernels/cpu/attention_latent.h"
#include "kernels/cpu/attention_latent_unit.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

/// Rows of a block of sums: 8 by two vectors of 32 registers (what hides the latency of two units),
/// or 4 of 16.
constexpr int64_t kLatentRows = kVectorBytes == 64 ? 8 : 4;
/// Columns of the latent taken at once: two vectors.
constexpr int64_t kLatentCols = 2 * kLanes;

/// Where a block of scores reads and writes: some keys by one panel.
struct ScoreSource {
  const std::byte* rows;
  int64_t row_bytes;
  const std::byte* q;
  int64_t words;
  float* scores;
  int64_t stride;
  LatentFetch* fetch;
};

/// Pointers to R rows. One in four has a register of its own: with one each the compiler would
/// spill.
template <int64_t R>
struct RowPointers {
  RowPointers(const std::byte* rows, int64_t bytes) : step(bytes), step3(3 * bytes) {
    for (int64_t i = 0; i < kBases; ++i) {
      base[i] = rows + i * 4 * bytes;
      asm("" : "+r"(base[i]));  // keeps the compiler from seeing through it
    }
    asm("" : "+r"(step), "+r"(step3));
  }
  template <int64_t r>
  const std::byte* row() const {
    const std::byte* b = base[r / 4];
    if constexpr (r % 4 == 0) return b;
    if constexpr (r % 4 == 1) return b + step;
    if constexpr (r % 4 == 2) return b + 2 * step;
    return b + step3;
  }
  void advance(int64_t bytes) {
    for (auto& b : base) b += bytes;
  }
  static constexpr int64_t kBases = (R + 3) / 4;
  const std::byte* base[kBases];
  int64_t step, step3;
};

/// Two words of a row in turn.
inline VecF broadcast_two_words(const std::byte* words) {
  uint64_t two;
  __builtin_memcpy(&two, words, sizeof two);
  return bit_cast_vec<VecF>(VecU64{} + two);
}

/// Even lanes of a, then of b, added to the odd ones.
template <size_t... L>
inline VecF add_neighbours(VecF a, VecF b, std::index_sequence<L...>) {
  return __builtin_shufflevector(a, b, static_cast<int>(2 * L)...) +
         __builtin_shufflevector(a, b, static_cast<int>(2 * L + 1)...);
}

/// Each broadcast brings two words of a key, for two vectors of queries that hold the same two
/// words of half a panel's pairs each: half the loads of one word at a time, which would bind.
template <class Unit, int64_t R>
[[gnu::flatten]] void score_tile(const ScoreSource& s) {
  VecF sum[R][2];
  unrolled<2 * R>([&](auto i) { sum[i / 2][i % 2] = VecF{}; });
  RowPointers<R> rows(s.rows, s.row_bytes);
  const std::byte* q = s.q;
  constexpr int64_t kBlock = kLanes;  // words; widths are multiples
  for (int64_t left = s.words; left > 0; left -= kBlock) {
    s.fetch->step();
    unrolled<kBlock / 2>([&](auto at) {
      const VecF low = load_words(q + 2 * at * kVectorBytes);
      const VecF high = load_words(q + (2 * at + 1) * kVectorBytes);
      unrolled<R>([&](auto r) {
        const VecF a = broadcast_two_words(rows.template row<r>() + at * 8);
        sum[r][0] = Unit::multiply_add(sum[r][0], a, low);
        sum[r][1] = Unit::multiply_add(sum[r][1], a, high);
      });
    });
    q += kBlock * kVectorBytes;
    rows.advance(kBlock * 4);
  }
  unrolled<R>([&](auto r) {
    store(s.scores + r * s.stride,
          add_neighbours(sum[r][0], sum[r][1], std::make_index_sequence<kLanes>()), Full{});
  });
}

/// `keys` keys, R at a time, then what is left in halves of that: a score's bits do not depend on
/// how many go together.
template <class Unit, int64_t R>
void score_keys(ScoreSource s, int64_t keys) {
  for (; keys >= R; keys -= R) {
    score_tile<Unit, R>(s);
    s.rows += R * s.row_bytes;
    s.scores += R * s.stride;
  }
  if constexpr (R > 1)
    if (keys > 0) score_keys<Unit, R / 2>(s, keys);
}

template <class Unit>
void score_panels(const LatentTile& t, const LatentSpace& space) {
  const int64_t words = (t.latent + t.rope) / Unit::kElements;
  for (int64_t p = 0; p < t.pairs; p += kLanes) {
    const std::byte* q = t.q + p * words * 4;
    const LatentRun* run = t.runs;
    for (int64_t k = 0; k < t.keys; k += run++->keys)
      score_keys<Unit, kLatentRows>({run->rows, t.row_bytes, q, words,
                                     space.scores_KP + k * space.stride + p, space.stride, t.fetch},
                                    run->keys);
  }
}

/// Keys of the runs, of which the first `keys` count.
struct ValueSource {
  const LatentRun* runs;
  int64_t row_bytes;
  int64_t keys;
  int64_t column_bytes;      ///< of the first column, in a row
  const std::byte* weights;  ///< of the first pair: words, weight_bytes from key to key
  int64_t weight_bytes;
  float* acc;
  int64_t acc_stride;
  bool accumulate;
  LatentFetch* fetch;
};

/// kLatentCols columns of one word's keys: F32 as they lie; for pairs of BF16 two rows interleaved,
/// within 128-bit lanes as the instruction does it. Lane order is restored in `in_order`.
struct TwoVecF {
  VecF first, second;
};
template <class Unit>
inline TwoVecF columns_of(const std::byte* row, [[maybe_unused]] const std::byte* next) {
  if constexpr (Unit::kElements == 1) {
    return {load_words(row), load_words(row + kVectorBytes)};
  } else {
#if defined(__AVX512BW__)
    const __m512i a = bit_cast_vec<__m512i>(load_words(row));
    const __m512i b = next ? bit_cast_vec<__m512i>(load_words(next)) : _mm512_setzero_si512();
    return {bit_cast_vec<VecF>(_mm512_unpacklo_epi16(a, b)),
            bit_cast_vec<VecF>(_mm512_unpackhi_epi16(a, b))};
#endif
  }
}
template <class Unit>
inline TwoVecF in_order(VecF low, VecF high) {
  if constexpr (Unit::kElements == 1) {
    return {low, high};
  } else {
#if defined(__AVX512BW__)
    const __m512i first = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
    const __m512i second = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    const auto a = bit_cast_vec<__m512d>(low), b = bit_cast_vec<__m512d>(high);
    return {bit_cast_vec<VecF>(_mm512_permutex2var_pd(a, first, b)),
            bit_cast_vec<VecF>(_mm512_permutex2var_pd(a, second, b))};
#endif
  }
}

/// R pairs by kLatentCols columns.
template <class Unit, int64_t R>
[[gnu::flatten]] void value_tile(const ValueSource& s) {
  VecF sum[R][2];
  unrolled<2 * R>([&](auto i) { sum[i / 2][i % 2] = VecF{}; });
  const std::byte* weights = s.weights;
  const auto word = [&](const std::byte* row, const std::byte* next) {
    const TwoVecF b = columns_of<Unit>(row, next);
    unrolled<R>([&](auto r) {
      const VecF a = Unit::broadcast(weights + r * 4);
      sum[r][0] = Unit::multiply_add(sum[r][0], a, b.first);
      sum[r][1] = Unit::multiply_add(sum[r][1], a, b.second);
    });
    weights += s.weight_bytes;
  };
  const LatentRun* run = s.runs;
  for (int64_t left = s.keys; left > 0; ++run) {
    const std::byte* row = run->rows + s.column_bytes;
    int64_t keys = std::min(run->keys, left);
    left -= keys;
    constexpr int64_t kBlock = 8 * Unit::kElements;  // keys
    while (keys >= Unit::kElements) {
      s.fetch->step();
      const int64_t n = std::min(keys, kBlock) / Unit::kElements * Unit::kElements;
      for (int64_t k = 0; k < n; k += Unit::kElements, row += Unit::kElements * s.row_bytes)
        word(row, row + s.row_bytes);
      keys -= n;
    }
    if (keys > 0) word(row, nullptr);  // what follows may not exist, or be NaN
  }
  unrolled<R>([&](auto r) {
    float* to = s.acc + r * s.acc_stride;
    const TwoVecF v = in_order<Unit>(sum[r][0], sum[r][1]);
    store(to, s.accumulate ? load(to, Full{}) + v.first : v.first, Full{});
    store(to + kLanes, s.accumulate ? load(to + kLanes, Full{}) + v.second : v.second, Full{});
  });
}

template <class Unit, int64_t R>
void value_pairs(ValueSource s, int64_t pairs) {
  for (; pairs >= R; pairs -= R) {
    value_tile<Unit, R>(s);
    s.weights += R * 4;
    s.acc += R * s.acc_stride;
  }
  if constexpr (R > 1)
    if (pairs > 0) value_pairs<Unit, R / 2>(s, pairs);
}

/// How often the products of a tile call LatentFetch::step.
template <class Unit>
int64_t fetch_steps(const LatentTile& t) {
  const int64_t panels = (t.pairs + kLanes - 1) / kLanes;
  const int64_t score_blocks = (t.latent + t.rope) / (kLanes * Unit::kElements);
  const int64_t value_blocks = (t.pairs + kLatentRows - 1) / kLatentRows * (t.latent / kLatentCols);
  return (t.keys + kLatentRows - 1) / kLatentRows * panels * score_blocks +
         (t.keys + 8 * Unit::kElements - 1) / (8 * Unit::kElements) * value_blocks;
}

/// Adds weights · keys for `pairs` pairs from `pair` on, which all see `keys` keys.
template <class Unit>
void value_block(const LatentTile& t, const LatentSpace& space, int64_t pair, int64_t pairs,
                 int64_t keys) {
  constexpr auto kElementBytes = static_cast<int64_t>(sizeof(typename Unit::Element));
  for (int64_t c = 0; c < t.latent; c += kLatentCols)
    value_pairs<Unit, kLatentRows>(
        {t.runs, t.row_bytes, keys, c * kElementBytes, space.weights + pair * 4, space.stride * 4,
         t.state.acc.row(pair) + c, t.state.acc.stride, !t.first, t.fetch},
        pairs);
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
