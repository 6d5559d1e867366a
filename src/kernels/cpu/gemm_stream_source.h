#pragma once

// Words (see gemm_table.h) of B as the streaming kernels read them: from storage, several vectors
// at a time where that is how it decodes best. For files compiled once per instruction set.

#include <algorithm>
#include <cstring>

#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/gemm_stream.h"
#include "kernels/cpu/gemm_unit.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

/// Calls f with a value of the element type of a format that is read as it lies.
template <class F>
inline void with_element(StorageFormat format, F f) {
  if (format == StorageFormat::kE4M3)
    f(E4M3{});
  else
    with_type(format == StorageFormat::kBF16, f);
}

// Columns of B that are read side by side.
constexpr int64_t kStreams = 4;

/// What a scale is turned into, for values that have none.
struct NoTable {};

/// kVectors vectors of words along k from kStep elements.
template <class Word, class T>
struct AlongK {
  using Table = NoTable;
  static constexpr int64_t kVectors = 1;
  static constexpr int64_t kStep = kLanes * Word::kElements;
  static void load(const T* p, const Table&, VecF (&out)[kVectors]) {
    out[0] = bit_cast_vec<VecF>(words_along_k<Word>(p, kStep));
  }
};

template <class Word>
struct AlongK<Word, E4M3> {
  using Table = ScaledDecoder<Word>;
  static constexpr int64_t kVectors = 1;
  static constexpr int64_t kStep = kLanes * Word::kElements;
  static void load(const E4M3* p, const Table& table, VecF (&out)[kVectors]) {
    out[0] = bit_cast_vec<VecF>(table(load_bits<typename Table::Codes>(p, Full{})));
  }
};

#if defined(__AVX512VBMI__)
template <>
struct AlongK<WordPair, E4M3> {
  using Table = E4M3ToBF16;
  static constexpr int64_t kVectors = 2;
  static constexpr int64_t kStep = kVectorBytes;
  static void load(const E4M3* p, const Table& table, VecF (&out)[kVectors]) {
    const TwoVecW words = decode_words(load_bits<VecB>(p, Full{}), table);
    out[0] = bit_cast_vec<VecF>(words.first);
    out[1] = bit_cast_vec<VecF>(words.second);
  }
};
#endif

template <class Table>
inline Table make_table(float scale) {
  if constexpr (std::is_same_v<Table, NoTable>) return {};
#if defined(__AVX512VBMI__)
  else if constexpr (std::is_same_v<Table, E4M3ToBF16>)
    return e4m3_to_bf16(scale);
#endif
  else
    return Table(scale);
}

/// A step of which only `count` elements exist; the words of the others are zero.
template <class Word, class T>
inline void load_tail(const T* p, int64_t count, const typename AlongK<Word, T>::Table& table,
                      VecF (&out)[AlongK<Word, T>::kVectors]) {
  constexpr int64_t kStep = AlongK<Word, T>::kStep;
  T whole[kStep] = {};
  __builtin_memcpy(whole, p, static_cast<size_t>(count) * sizeof(T));
  AlongK<Word, T>::load(whole, table, out);
  // Zero times an infinite scale would not be.
  constexpr size_t kElementBytes = 4 / Word::kElements;
  std::memset(reinterpret_cast<std::byte*>(out) + static_cast<size_t>(count) * kElementBytes, 0,
              static_cast<size_t>(kStep - count) * kElementBytes);
}

template <size_t kBytes>
struct FloatsOf {
  typedef float Type __attribute__((vector_size(kBytes)));  // NOLINT: an alias loses the attribute
};
using Vec4 = FloatsOf<16>::Type;

/// Lanes of a vector of n, from kFirst on.
template <int64_t kFirst, class V, size_t... i>
auto lanes_from(V v, std::index_sequence<i...>) {
  return __builtin_shufflevector(v, v, (kFirst + static_cast<int64_t>(i))...);
}
/// Adds the halves of a vector until four lanes are left, as reduce_add does.
template <class V>
Vec4 fold(V v) {
  if constexpr (sizeof(V) == sizeof(Vec4)) {
    return __builtin_bit_cast(Vec4, v);
  } else {
    constexpr int64_t kHalf = sizeof(V) / sizeof(float) / 2;
    constexpr auto kLanesOfHalf = std::make_index_sequence<kHalf>();
    using Half = typename FloatsOf<sizeof(V) / 2>::Type;
    const Half low = lanes_from<0>(v, kLanesOfHalf), high = lanes_from<kHalf>(v, kLanesOfHalf);
    return fold<Half>(low + high);
  }
}

/// reduce_add of four vectors side by side, in the same order of additions: the same bits.
inline Vec4 reduce_four(const VecF* sum) {
  const Vec4 a = fold(sum[0]), b = fold(sum[1]), c = fold(sum[2]), d = fold(sum[3]);
  const Vec4 ab =
      __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
  const Vec4 cd =
      __builtin_shufflevector(c, d, 0, 1, 4, 5) + __builtin_shufflevector(c, d, 2, 3, 6, 7);
  return __builtin_shufflevector(ab, cd, 0, 2, 4, 6) + __builtin_shufflevector(ab, cd, 1, 3, 5, 7);
}

/// f(integral_constant R) with R = rows, from Min to Max.
template <int64_t Max, int64_t Min = 1, class F>
inline void with_rows(int64_t rows, F f) {
  if constexpr (Max > Min)
    if (rows < Max) return with_rows<Max - 1, Min>(rows, f);
  f(std::integral_constant<int64_t, Max>{});
}

/// Rows of A as words, each padded with zeros to whole steps of any source, and by a cache line so
/// that rows of 2^n words do not fall into the same sets of L1.
inline int64_t word_row_bytes(int64_t k, int64_t elements) {
  constexpr int64_t kUnit = 4 * kVectorBytes;
  return ((k + elements - 1) / elements * 4 + kUnit - 1) / kUnit * kUnit + 64;
}

template <class Word>
inline int64_t packed_word_bytes(int64_t rows, int64_t k) {
  return rows * word_row_bytes(k, Word::kElements);
}

/// Row m of A; the words that pad it are zero.
template <class Word>
void pack_word_row(const GemmOperand& a, int64_t m, int64_t k, std::byte* to) {
  const int64_t row_bytes = word_row_bytes(k, Word::kElements);
  const int64_t written = (k + kLanes * Word::kElements - 1) / (kLanes * Word::kElements);
  pack_a<Word, 1>(a, {m, 1}, {0, k}, to, row_bytes);
  std::memset(to + written * kVectorBytes, 0,
              static_cast<size_t>(row_bytes - written * kVectorBytes));
}

template <class Word>
void pack_words(const GemmOperand& a, const GemmOperand&, int64_t rows, int64_t k, std::byte* to) {
  const int64_t row_bytes = word_row_bytes(k, Word::kElements);
  for (int64_t m = 0; m < rows; ++m) pack_word_row<Word>(a, m, k, to + m * row_bytes);
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
