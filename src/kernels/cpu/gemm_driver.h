#pragma once

#include <cstdint>
#include <span>

#include "kernels/cpu/gemm_table.h"

namespace fathom::kernels::cpu {

struct SwigluPair;  // gemm_swiglu.h

/// C[m,n] (+)= A[m,k] · B[k,n]; C is row-major, F32 or BF16. With a SwiGLU pair, B is the gate and
/// C [m,2n] the two products, or nothing.
struct GemmProblem {
  int64_t m = 0, n = 0, k = 0;
  GemmOperand a, b;
  void* c = nullptr;
  DType c_dtype = DType::kF32;
  int64_t c_stride = 0;
  const SwigluPair* swiglu = nullptr;
};

/// Computes independent products together on all threads of the context, with temporaries from its
/// arena: by run_few_rows those of at most kSmallM k-contiguous rows of A where it can read B,
/// others by run_blocked, unless the context asks for one of the two. The sum over K runs in the
/// same order for every shape within a path and never across threads, so results depend on neither.
void run_gemms(Context& ctx, const GemmKernels& kernels, std::span<const GemmProblem> problems,
               bool accumulate);

/// Streams B once, unpacked (gemm_stream.h), its columns spread over the threads by bytes. More
/// than kSmallM rows go over each block of columns in groups of so many.
void run_few_rows(Context& ctx, const GemmKernels& kernels,
                  std::span<const GemmProblem* const> problems, bool accumulate);

/// Packed and blocked: all threads together pack the rows of A once; then each task multiplies them
/// with a strip of columns of B, which it packs block by block of K into its own cache (L2).
void run_blocked(Context& ctx, const GemmKernels& kernels,
                 std::span<const GemmProblem* const> problems, bool accumulate);

/// Writes sums as the BF16 block of a problem's C at (row, col).
void round_rows(const GemmKernels& kernels, const float* from, int64_t from_stride,
                const GemmProblem& p, int64_t row, int64_t col, int64_t rows, int64_t cols);

/// A list in the arena, filled front to back.
template <class T>
struct ArenaList {
  ArenaList(Arena& arena, int64_t capacity) : data(arena.alloc_array<T>(capacity)) {}
  void push(const T& x) { data[count++] = x; }
  std::span<T> span() const { return {data, static_cast<size_t>(count)}; }
  T* data;
  int64_t count = 0;
};

}  // namespace fathom::kernels::cpu
