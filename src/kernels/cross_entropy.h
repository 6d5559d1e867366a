#pragma once

#include <cstdint>
#include <span>

#include "base/context.h"
#include "kernels/gemm.h"

namespace fathom::kernels {

/// A target that does not count.
inline constexpr int32_t kIgnoreTarget = -1;

/// Output head and cross-entropy fused in chunks of tokens, so that no [T,V] buffer exists:
///   logits = h·Wᵀ;  loss_T[t] = logsumexp(logits[t]) − logits[t][target[t]]  (0 where ignored)
/// Returns Σ_t loss_T in FP64, in token order. h_TD F32 or BF16, w_VD in any format, loss_T F32
/// (may be empty). Temporary memory: a chunk's logits, at most the larger of 32 MiB and 2 KiB·V.
double head_loss_forward(Context& ctx, ConstTensorView h_TD, const GemmInput& w_VD,
                         std::span<const int32_t> target_T, TensorView loss_T,
                         GemmPrecision precision);

/// The same, with the gradient of scale·Σ_t loss_T in the same pass: dh_TD (F32 or BF16,
/// overwritten) and dw_VD F32 (+=). w_VD F32 or BF16. FLOPs 6·T·V·D.
double head_loss_forward_backward(Context& ctx, ConstTensorView h_TD, const GemmInput& w_VD,
                                  std::span<const int32_t> target_T, float scale, TensorView loss_T,
                                  TensorView dh_TD, TensorView dw_VD, GemmPrecision precision);

}  // namespace fathom::kernels
