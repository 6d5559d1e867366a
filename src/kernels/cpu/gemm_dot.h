#pragma once

// C = A·Bᵀ for a few rows of A: B streams from memory once and is widened in registers. Each
// element of C has one vector of partial sums over k, whatever the number of rows, so a row's bits
// do not depend on the others. For files compiled once per instruction set.

#include <algorithm>

#include "kernels/cpu/gemm_pack.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

// kDotRows x kDotCols sums, and as many loads of A and B a step.
constexpr int64_t kDotRows = 4;
constexpr int64_t kDotCols = kVectorBytes == 64 ? 4 : 2;
// About a DRAM latency ahead at the rate of one core.
constexpr int64_t kPrefetchBytes = 1024;

template <class Word, int64_t R, int64_t C, class T>
void dot_tile(const DotBlock& x, int64_t row, int64_t col) {
  const float* a_MK = x.a_MK + row * x.a_stride;
  const T* b_NK = static_cast<const T*>(x.b.data) + col * x.b.stride;
  VecF sum[R][C] = {};
  for_vectors(x.k, [&](int64_t k, auto part) {
    VecF b[C];
#pragma GCC unroll 4
    for (int64_t c = 0; c < C; ++c) {
      const T* p = b_NK + c * x.b.stride + k;
      if (row == 0) __builtin_prefetch(reinterpret_cast<const std::byte*>(p) + kPrefetchBytes);
      b[c] = Word::convert(p, part);
    }
#pragma GCC unroll 4
    for (int64_t r = 0; r < R; ++r) {
      const VecF a = load(a_MK + r * x.a_stride + k, part);
#pragma GCC unroll 4
      for (int64_t c = 0; c < C; ++c) sum[r][c] += a * b[c];
    }
  });
  for (int64_t r = 0; r < R; ++r)
    for (int64_t c = 0; c < C; ++c)
      x.out[(row + r) * x.out_stride + col + c] = reduce_add(sum[r][c]);
}

template <class Word, int64_t C, class T>
void dot_columns(const DotBlock& x, int64_t col) {
  int64_t row = 0;
  for (; row + kDotRows <= x.rows; row += kDotRows) dot_tile<Word, kDotRows, C, T>(x, row, col);
  switch (x.rows - row) {
    case 3:
      return dot_tile<Word, 3, C, T>(x, row, col);
    case 2:
      return dot_tile<Word, 2, C, T>(x, row, col);
    case 1:
      return dot_tile<Word, 1, C, T>(x, row, col);
  }
}

template <class Word>
void dot(const DotBlock& x) {
  with_type(x.b.dtype == DType::kBF16, [&](auto t) {
    int64_t col = 0;
    for (; col + kDotCols <= x.cols; col += kDotCols)
      dot_columns<Word, kDotCols, decltype(t)>(x, col);
    for (; col < x.cols; ++col) dot_columns<Word, 1, decltype(t)>(x, col);
  });
}

template <class Word>
void to_float(const GemmOperand& a, int64_t row, int64_t k, float* to) {
  with_type(a.dtype == DType::kBF16, [&](auto t) {
    const auto* p = static_cast<const decltype(t)*>(a.data) + row * a.stride;
    for_vectors(k, [&](int64_t i, auto part) { store(to + i, Word::convert(p + i, part), part); });
  });
}

inline void round_to_bf16(const float* from, BF16* to, int64_t count) {
  for_vectors(count, [&](int64_t i, auto part) { store(to + i, load(from + i, part), part); });
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
