#pragma once

// The register-blocked product of packed panels on vector units: MR rows by kTileVectors vectors of
// columns of C stay in registers while k runs. Per word of k: one vector of B for each vector of
// columns, one broadcast word of A for each row. For files compiled once per instruction set.

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

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

/// Adds (or writes) a vector of sums to c, of whose columns `cols` exist.
inline void store_sum(VecF sum, float* c, int64_t cols, bool accumulate) {
  const auto add = [&](auto part) { store(c, accumulate ? load(c, part) + sum : sum, part); };
  if (cols >= kLanes)
    add(Full{});
  else
    add(Tail{cols});
}

template <class Unit, int64_t R, int64_t V>
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
            Unit::multiply_add(sum[r][v], Unit::broadcast(a + r * kVectorBytes + w * 4), b_V[v]);
      });
    });
  };
  int64_t left = t.words;
  for (; left >= kLanes; left -= kLanes) {
#pragma GCC unroll 4
    for (int64_t w = 0; w < kLanes; ++w) word(w);
    a += kMicroRows * kVectorBytes;
    b += kLanes * kVectorBytes;
  }
  for (int64_t w = 0; w < left; ++w) word(w);
  unrolled<R * V>([&](auto i) {
    store_sum(sum[i / V][i % V], t.c + i / V * t.c_stride + i % V * kLanes, t.cols - i % V * kLanes,
              t.accumulate);
  });
}

using MicroKernel = void (*)(const MicroTile&);

/// The kernel for every number of rows below kMicroRows, so that a short last panel costs no more
/// than its rows; [vectors - 1][rows - 1].
template <class Unit, int64_t V, size_t... R>
constexpr std::array<MicroKernel, kMicroRows> micro_kernels(std::index_sequence<R...>) {
  return {micro_kernel<Unit, static_cast<int64_t>(R) + 1, V>...};
}

template <class Unit>
void multiply(const PackedBlock& block) {
  static constexpr auto kRows = std::make_index_sequence<kMicroRows>();
  static constexpr std::array<std::array<MicroKernel, kMicroRows>, kTileVectors> kKernels = {
      micro_kernels<Unit, 1>(kRows), micro_kernels<Unit, 2>(kRows)};
  constexpr int64_t kCols = kTileVectors * kLanes;
  const int64_t words = (block.k + Unit::Word::kElements - 1) / Unit::Word::kElements;
  const std::byte* a = block.a;
  for (int64_t m = 0; m < block.rows; m += kMicroRows, a += block.a_panel_bytes) {
    const int64_t rows = std::min(kMicroRows, block.rows - m);
    NextPanel next(a + block.a_panel_bytes, kMicroRows * words * 4, block.cols / kCols);
    const std::byte* b = block.b;
    for (int64_t n = 0; n < block.cols; n += kCols, b += kTileVectors * block.b_panel_bytes) {
      next.prefetch();
      const int64_t cols = std::min(kCols, block.cols - n);
      const int64_t vectors = (cols + kLanes - 1) / kLanes;
      kKernels[static_cast<size_t>(vectors - 1)][static_cast<size_t>(rows - 1)](
          {a, b, block.b_panel_bytes, words, block.c + m * block.c_stride + n, block.c_stride, cols,
           block.accumulate});
    }
  }
}

/// Independent multiply-adds on registers alone: the roof of the micro-kernel.
template <class Unit>
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
    unrolled<kSums>([&](auto s) { sum[s] = Unit::multiply_add(sum[s], Unit::broadcast(a), b); });
  }
  unrolled<kSums - 1>([&](auto s) { sum[0] += sum[s + 1]; });
  volatile float sink = sum[0][0];
  static_cast<void>(sink);
  return 2.0 * static_cast<double>(repetitions * kSums * kLanes * Unit::Word::kElements);
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
