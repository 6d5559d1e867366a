#pragma once

#include <cstdint>

#include "base/context.h"
#include "kernels/quantized.h"

namespace fathom::kernels {

/// Where each (token, choice) goes when tokens are sorted by expert. Slots are ordered by expert,
/// then token: the order does not depend on threads.
struct ExpertPlan {
  TensorView offset_E1;  ///< I64 [E+1]: expert e owns slots [offset[e], offset[e+1])
  TensorView slot_TK;    ///< I32 [T,K]: slot of a token's k-th choice
  TensorView token_S;    ///< I32 [S = T·K]: token of a slot
};

/// Counts and sorts expert_TK (I32 [T,K], values in [0, experts)) into plan, whose tensors are
/// allocated from ctx.arena.
ExpertPlan plan_experts(Context& ctx, ConstTensorView expert_TK, int64_t experts);

/// y_SD[slot] = x_TD[token of slot]; dtypes F32 or BF16, converted if they differ.
void permute(Context& ctx, const ExpertPlan& plan, ConstTensorView x_TD, TensorView y_SD);

/// The same for a quantized matrix in tiles of 1x128: codes and scales.
void permute(Context& ctx, const ExpertPlan& plan, const ConstQuantizedView& x_TD,
             const QuantizedView& y_SD);
/// One number for each (token, choice) to its slot and back: y_S[slot(t,k)] = x_TK[t,k]. F32.
void permute_choices(Context& ctx, const ExpertPlan& plan, ConstTensorView x_TK, TensorView y_S);
void unpermute_choices(Context& ctx, const ExpertPlan& plan, ConstTensorView x_S, TensorView y_TK);

/// out_TD[t] += Σ_k weight_TK[t,k] · y_SD[slot(t,k)]. out F32; weight_TK F32, or empty for 1: then
/// it is the backward of permute.
void unpermute(Context& ctx, const ExpertPlan& plan, ConstTensorView y_SD,
               ConstTensorView weight_TK, TensorView out_TD);

}  // namespace fathom::kernels
