#pragma once

#include <cstdint>
#include <span>

#include "base/context.h"
#include "kernels/gemm.h"
#include "model/parameter.h"

namespace fathom {

struct Fp8Recipe;
class RoundingObserver;

/// How a pass computes, whatever its tokens.
struct PassOptions {
  kernels::GemmPrecision precision = kernels::GemmPrecision::kBF16;
  /// Linears with weights in FP8 multiply in FP8 by this recipe; null: weights are widened.
  const Fp8Recipe* fp8 = nullptr;
  /// Outputs of RMSNorm and of MLA's up-projections are computed again in the backward instead of
  /// kept (spec C). In FP8, what is kept for it is stored in 8 and 12 bits.
  bool recompute = false;
  RoundingObserver* observer = nullptr;  ///< sees what is rounded to FP8; null: nobody

  PassOptions() = default;
  PassOptions(kernels::GemmPrecision p) : precision(p) {}  // NOLINT: a precision says it all
};

/// What all layers of one pass over a batch of tokens share. T tokens of all sequences lie one
/// after the other. The residual stream is F32; what Linears consume and produce is
/// `activation_dtype()`.
struct Pass {
  Context& ctx;
  kernels::GemmPrecision precision = kernels::GemmPrecision::kBF16;
  std::span<const int32_t> position_T;        ///< of each token within its sequence
  std::span<const int64_t> sequence_offsets;  ///< sequence s: tokens [s], [s+1)
  const Fp8Recipe* fp8 = nullptr;             ///< these as in PassOptions
  bool recompute = false;
  RoundingObserver* observer = nullptr;
  // Memory that all layers of a forward pass use in turn, so that it is not kept for the backward.
  TensorView normed_TD = {};  ///< output of the last norm, when it is computed again
  kernels::QuantizedView normed_fp8_TD = {};  ///< the same for what takes it in FP8 alone
  TensorView expert_out_SD = {};  ///< what experts hand to combine; empty: each layer has its own

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
  /// An E4M3 matrix in tiles of 1x128.
  kernels::QuantizedView alloc_e4m3(int64_t rows, int64_t cols) const {
    return {ctx.arena.alloc(DType::kE4M3, {rows, cols}),
            alloc_f32(rows, kernels::scale_cols(cols, kernels::kTile1x128)), kernels::kTile1x128};
  }
  /// Whether what is kept for the backward is stored in FP8.
  bool keeps_fp8() const { return fp8 && recompute; }
  /// Whether products with w are FP8.
  bool in_fp8(const Parameter& w) const { return fp8 && w.is_fp8(); }
};

inline Pass make_pass(Context& ctx, const PassOptions& options, std::span<const int32_t> position_T,
                      std::span<const int64_t> sequence_offsets) {
  return {ctx,         options.precision, position_T,      sequence_offsets,
          options.fp8, options.recompute, options.observer};
}

}  // namespace fathom
