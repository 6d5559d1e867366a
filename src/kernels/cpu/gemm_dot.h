#pragma once

// C = A·Bᵀ for a few rows of A: B streams from memory once and is converted in registers. Each
// element of C has one vector of partial sums over k, whatever the number of rows, so a row's bits
// do not depend on the others. For files compiled once per instruction set.

#include <algorithm>

#include "kernels/cpu/gemm_unit.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

// Columns are taken four at a time: as many streams of B, each loaded row of A meets four columns,
// and B stays in L1 or L2 for the rows that follow. Sums fill the registers: 6 x 4 of 32, 2 x 4 or
// 4 x 2 of 16.
constexpr int64_t kDotBlockCols = 4;
constexpr int64_t kDotRows = kVectorBytes == 64 ? 6 : 4;
constexpr int64_t dot_cols(int64_t rows) {
  return kVectorBytes == 64 || rows <= 2 ? kDotBlockCols : 2;
}
// About a DRAM latency ahead at the rate of one core.
constexpr int64_t kPrefetchBytes = 1024;

template <size_t kBytes>
struct FloatsOf {
  typedef float Type __attribute__((vector_size(kBytes)));  // NOLINT: an alias loses the attribute
};
using Vec4 = FloatsOf<16>::Type;

/// Adds the halves of a vector until four lanes are left, as reduce_add does.
template <class V>
Vec4 fold(V v) {
  if constexpr (sizeof(V) == sizeof(Vec4)) {
    return __builtin_bit_cast(Vec4, v);
  } else {
    using Half = typename FloatsOf<sizeof(V) / 2>::Type;
    struct Halves {
      Half low, high;
    };
    const auto h = __builtin_bit_cast(Halves, v);
    return fold<Half>(h.low + h.high);
  }
}

/// reduce_add of four vectors side by side, in the same order of additions: the same bits.
inline void store_dots(const VecF (&sum)[4], float* out) {
  const Vec4 a = fold(sum[0]), b = fold(sum[1]), c = fold(sum[2]), d = fold(sum[3]);
  const Vec4 ab =
      __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
  const Vec4 cd =
      __builtin_shufflevector(c, d, 0, 1, 4, 5) + __builtin_shufflevector(c, d, 2, 3, 6, 7);
  const Vec4 all =
      __builtin_shufflevector(ab, cd, 0, 2, 4, 6) + __builtin_shufflevector(ab, cd, 1, 3, 5, 7);
  __builtin_memcpy(out, &all, sizeof all);
}

template <size_t C>
void store_dots(const VecF (&sum)[C], float* out) {
  for (size_t c = 0; c < C; ++c) out[c] = reduce_add(sum[c]);
}

template <class Unit, int64_t R, int64_t C, class T>
[[gnu::flatten]] void dot_tile(const DotBlock& x, int64_t row, int64_t col) {
  constexpr int64_t kStep = kLanes * Unit::Word::kElements;
  const std::byte* a = x.a + row * x.a_row_bytes;
  const T* b = static_cast<const T*>(x.b.data) + col * x.b.stride;
  VecF sum[R][C];
  unrolled<R * C>([&](auto i) { sum[i / C][i % C] = VecF{}; });
  const auto step = [&](int64_t k, auto words_of_b) {
    VecF b_C[C];
    unrolled<C>([&](auto c) { b_C[c] = bit_cast_vec<VecF>(words_of_b(b + c * x.b.stride + k)); });
    unrolled<R>([&](auto r) {
      VecF a_r;
      __builtin_memcpy(&a_r, a + r * x.a_row_bytes, sizeof a_r);
      unrolled<C>([&](auto c) { sum[r][c] = Unit::multiply_add(sum[r][c], a_r, b_C[c]); });
    });
    a += kVectorBytes;
  };
  int64_t k = 0;
  for (; k + kStep <= x.k; k += kStep)
    step(k, [&](const T* p) {
      if (row == 0) __builtin_prefetch(reinterpret_cast<const std::byte*>(p) + kPrefetchBytes);
      return words_along_k<typename Unit::Word>(p, kStep);
    });
  if (k < x.k) step(k, [&](const T* p) { return words_along_k<typename Unit::Word>(p, x.k - k); });
  unrolled<R>([&](auto r) { store_dots(sum[r], x.out + (row + r) * x.out_stride + col); });
}

/// The next rows from `row` by one block of columns: as many as a kernel takes at once. Returns how
/// many.
template <class Unit, int64_t R, class T>
int64_t dot_rows(const DotBlock& x, int64_t row, int64_t col) {
  if (R > 1 && x.rows - row < R) return dot_rows<Unit, (R + 1) / 2, T>(x, row, col);
  constexpr int64_t kCols = dot_cols(R);
  for (int64_t c = 0; c < kDotBlockCols; c += kCols) dot_tile<Unit, R, kCols, T>(x, row, col + c);
  return R;
}

template <class Unit, class T>
void dot_as(const DotBlock& x) {
  int64_t col = 0;
  for (; col + kDotBlockCols <= x.cols; col += kDotBlockCols)
    for (int64_t row = 0; row < x.rows;) row += dot_rows<Unit, kDotRows, T>(x, row, col);
  for (; col < x.cols; ++col)
    for (int64_t row = 0; row < x.rows; ++row) dot_tile<Unit, 1, 1, T>(x, row, col);
}

template <class Unit>
void dot(const DotBlock& x) {
  with_type(x.b.dtype == DType::kBF16, [&](auto t) { dot_as<Unit, decltype(t)>(x); });
}

template <class Word>
void pack_dot(const GemmOperand& a, int64_t row, int64_t k, std::byte* to) {
  with_type(a.dtype == DType::kBF16, [&](auto t) {
    const auto* p = static_cast<const decltype(t)*>(a.data) + row * a.stride;
    PanelSource<Word, decltype(t)> from{p, a.stride, 1, k};
    pack_rows(from, 1, to);
  });
}

inline void round_to_bf16(const float* from, BF16* to, int64_t count) {
  for_vectors(count, [&](int64_t i, auto part) { store(to + i, load(from + i, part), part); });
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
