#pragma once

#include <cstdint>
#include <span>

#include "kernels/cpu/gemm_table.h"

namespace fathom::kernels::cpu {

/// C[m,n] (+)= A[m,k] · B[k,n]; C is row-major, F32 or BF16.
struct GemmProblem {
  int64_t m = 0, n = 0, k = 0;
  GemmOperand a, b;
  void* c = nullptr;
  DType c_dtype = DType::kF32;
  int64_t c_stride = 0;
};

/// Computes independent products together on all threads of the context, with temporaries from its
/// arena.
///
/// A product of at most kSmallM rows with k-contiguous operands streams B once, unpacked. Any other
/// is blocked: the rows of A are packed once by all threads together; then each task multiplies
/// them with a strip of kStripCols columns of B, packing B block by block of K into its own cache
/// (L2). A strip goes through kBlockRows rows of A and C at a time. The sum over K runs in blocks
/// of the same size for every shape, and never across threads, so results depend on neither.
void run_gemms(Context& ctx, const GemmKernels& kernels, std::span<const GemmProblem> problems,
               bool accumulate);

}  // namespace fathom::kernels::cpu
