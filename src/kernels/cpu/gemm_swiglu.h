#pragma once

#include "kernels/cpu/gemm_driver.h"
#include "kernels/cpu/ops_table.h"

/// The SwiGLU pair: what follows two products of one A (gemm.h, gemm_nt_swiglu).
namespace fathom::kernels::cpu {

/// The second matrix and the outputs, from the problem's first row on.
struct SwigluPair {
  GemmOperand up;
  MutableRows act{};          ///< no data: not written
  QuantizedRows quantized{};  ///< no codes: not written
  const float* weight = nullptr;
};

/// A block of both products in FP32: gate(r, c) at sums[r·stride + c], up `cols` further.
struct SwigluBlock {
  const float* sums;
  int64_t stride;
  int64_t row, rows, col,
      cols;  ///< in the problem; with quantized outputs col is a multiple of 128
};

/// Writes everything that the problem asks for of a block.
void finish_swiglu(Context& ctx, const GemmKernels& kernels, const GemmProblem& p,
                   const SwigluBlock& block);

/// Both products as run_few_rows makes them, then the activation.
void run_few_rows_swiglu(Context& ctx, const GemmKernels& kernels,
                         std::span<const GemmProblem* const> problems);

}  // namespace fathom::kernels::cpu
