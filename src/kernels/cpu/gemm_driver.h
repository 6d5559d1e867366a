#pragma once

#include <cstdint>
#include <span>

#include "kernels/gemm.h"

namespace fathom::kernels::cpu {

/// One input of a product as it lies in memory: a matrix of `outer` rows (A) or columns (B) by K.
/// Element (x, k) is data[x·stride + k] when k_contiguous, else data[k·stride + x].
struct GemmOperand {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t stride = 0;
  bool k_contiguous = true;
};

/// C[m,n] (+)= A[m,k] · B[k,n]. Views in elements, C row-major.
struct GemmProblem {
  int64_t m = 0, n = 0, k = 0;
  GemmOperand a, b;
  void* c = nullptr;
  DType c_dtype = DType::kF32;
  int64_t c_stride = 0;
};

/// Computes independent products together on all threads of the context. Precision and accumulation
/// are the same for all.
void run_gemms(Context& ctx, std::span<const GemmProblem> problems, GemmOptions options);

}  // namespace fathom::kernels::cpu
