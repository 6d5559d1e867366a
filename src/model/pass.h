#pragma once

#include <cstdint>
#include <span>

#include "base/context.h"
#include "kernels/gemm.h"

namespace fathom {

/// What all layers of one pass over a batch of tokens share. T tokens of all sequences lie one
/// after the other. The residual stream is F32; what Linears consume and produce is
/// `activation_dtype()`.
struct Pass {
  Context& ctx;
  kernels::GemmPrecision precision = kernels::GemmPrecision::kBF16;
  std::span<const int32_t> position_T;        ///< of each token within its sequence
  std::span<const int64_t> sequence_offsets;  ///< sequence s: tokens [s], [s+1)

  int64_t tokens() const { return static_cast<int64_t>(position_T.size()); }
  DType activation_dtype() const {
    return precision == kernels::GemmPrecision::kF32 ? DType::kF32 : DType::kBF16;
  }
  TensorView alloc_activation(int64_t rows, int64_t cols) const {
    return ctx.arena.alloc(activation_dtype(), {rows, cols});
  }
  TensorView alloc_f32(int64_t rows, int64_t cols) const {
    return ctx.arena.alloc(DType::kF32, {rows, cols});
  }
};

}  // namespace fathom
