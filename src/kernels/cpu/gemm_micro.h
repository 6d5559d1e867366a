#pragma once

// The register-blocked product of packed panels on vector units: MR rows by kTileVectors vectors of
// columns of C stay in registers while k runs. Per word of k: one vector of B for each vector of
// columns, one broadcast word of A for each row. For files compiled once per instruction set.

#include <algorithm>
#include <cstddef>

#include "kernels/cpu/gemm_prefetch.h"
#include "kernels/cpu/gemm_table.h"
#include "kernels/cpu/gemm_unit.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

// 12 x 2 accumulators of 32 registers, or 6 x 2 of 16.
constexpr int64_t kMicroRows = kVectorBytes == 64 ? 12 : 6;
constexpr int64_t kTileVectors = 2;

/// Where a micro-kernel reads and adds. B panels follow each other b_panel_bytes apart.
struct MicroTile {
  const std::byte* a;
  const std::byte* b;
  int64_t b_panel_bytes;
  int64_t words;  ///< of K
  float* c;
  int64_t c_stride;
  int64_t cols;  ///< columns of C that exist
  bool accumulate;
};

/// Adds (or writes) rows of sums to C where fewer columns exist than the tile has.
[[gnu::noinline]] inline void store_corner(const float* sum, int64_t sum_stride, int64_t rows,
                                           const MicroTile& t) {
  for (int64_t r = 0; r < rows; ++r)
    for_vectors(t.cols, [&](int64_t i, auto part) {
      float* to = t.c + r * t.c_stride + i;
      const VecF v = load(sum + r * sum_stride + i, part);
      store(to, t.accumulate ? load(to, part) + v : v, part);
    });
}

template <int64_t R, int64_t V>
void store_sums(const VecF (&sum)[R][V], const MicroTile& t) {
  if (t.cols < V * kLanes) {
    alignas(64) float whole[R * V * kLanes];
    unrolled<R * V>([&](auto i) { store(whole + i * kLanes, sum[i / V][i % V], Full{}); });
    return store_corner(whole, V * kLanes, R, t);
  }
  unrolled<R * V>([&](auto i) {
    float* to = t.c + i / V * t.c_stride + i % V * kLanes;
    const VecF v = sum[i / V][i % V];
    store(to, t.accumulate ? load(to, Full{}) + v : v, Full{});
  });
}

template <class Math, int64_t R, int64_t V>
[[gnu::flatten]] void micro_kernel(const MicroTile& t) {
  unrolled<R * V>(
      [&](auto i) { __builtin_prefetch(t.c + i / V * t.c_stride + i % V * kLanes, 1); });
  VecF sum[R][V];
  unrolled<R * V>([&](auto i) { sum[i / V][i % V] = VecF{}; });
  const std::byte* a = t.a;
  const std::byte* b = t.b;
  const auto word = [&](int64_t w) {
    VecF b_V[V];
    unrolled<V>([&](auto v) {
      __builtin_memcpy(&b_V[v], b + v * t.b_panel_bytes + w * kVectorBytes, sizeof b_V[v]);
    });
    unrolled<R>([&](auto r) {
      unrolled<V>([&](auto v) {
        sum[r][v] =
            Math::multiply_add(sum[r][v], Math::broadcast(a + r * kVectorBytes + w * 4), b_V[v]);
      });
    });
  };
  int64_t left = t.words;
  for (; left >= kLanes; left -= kLanes) {
    for (int64_t w = 0; w < kLanes; ++w) word(w);
    a += kMicroRows * kVectorBytes;
    b += kLanes * kVectorBytes;
  }
  for (int64_t w = 0; w < left; ++w) word(w);
  store_sums(sum, t);
}

/// `rows` rows of a panel: 12, or what is left of them as 8 + 4 + 2 + 1, so that a short last panel
/// costs little more than its rows: of powers of two 8 or 4 rows are left, with AVX2's 6 rows 4 or
/// 2. A row's bits do not depend on how many go together.
template <class Math, int64_t R, int64_t V>
void micro_rows(MicroTile t, int64_t rows) {
  for (; rows >= R; rows -= R) {
    micro_kernel<Math, R, V>(t);
    t.a += R * kVectorBytes;
    t.c += R * t.c_stride;
  }
  if constexpr (R > 1)
    if (rows > 0) micro_rows<Math, R == kMicroRows ? kMicroRows * 2 / 3 : R / 2, V>(t, rows);
}

template <class Math>
void multiply(const PackedBlock& block) {
  constexpr int64_t kCols = kTileVectors * kLanes;
  const int64_t words = (block.k + Math::kElements - 1) / Math::kElements;
  const std::byte* a = block.a;
  NextSource source(block.next, tiles_of(block, kMicroRows, kCols));
  for (int64_t m = 0; m < block.rows; m += kMicroRows, a += block.a_panel_bytes) {
    const int64_t rows = std::min(kMicroRows, block.rows - m);
    NextPanel next(a + block.a_panel_bytes, kMicroRows * words * 4, block.cols / kCols);
    const std::byte* b = block.b;
    for (int64_t n = 0; n < block.cols; n += kCols, b += kTileVectors * block.b_panel_bytes) {
      next.prefetch();
      source.prefetch();
      const int64_t cols = std::min(kCols, block.cols - n);
      const auto kernel =
          cols > kLanes ? micro_rows<Math, kMicroRows, 2> : micro_rows<Math, kMicroRows, 1>;
      kernel({a, b, block.b_panel_bytes, words, block.c + m * block.c_stride + n, block.c_stride,
              cols, block.accumulate},
             rows);
    }
  }
}

/// Independent multiply-adds on registers alone: the roof of the micro-kernel.
template <class Math>
[[gnu::flatten]] double burst(int64_t repetitions) {
  constexpr int64_t kSums = kMicroRows * kTileVectors;
  VecF sum[kSums];
  unrolled<kSums>([&](auto s) { sum[s] = splat(s); });  // all different, or one would do
  const float one = 1;
  std::byte a[sizeof one];
  __builtin_memcpy(a, &one, sizeof one);
  VecF b = splat(0x1p-20f);
  for (int64_t i = 0; i < repetitions; ++i) {
    asm volatile("" : "+m"(a));  // or the loop would be a constant
    unrolled<kSums>([&](auto s) { sum[s] = Math::multiply_add(sum[s], Math::broadcast(a), b); });
  }
  unrolled<kSums - 1>([&](auto s) { sum[0] += sum[s + 1]; });
  volatile float sink = sum[0][0];
  static_cast<void>(sink);
  return 2.0 * static_cast<double>(repetitions * kSums * kLanes * Math::kElements);
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
