#pragma once

#include "base/context.h"
#include "kernels/quantize.h"

namespace fathom::kernels {

/// y = silu(g) ⊙ u, silu(g) = g·σ(g) = g / (1 + e^-g). gate_up_TF2 [T, 2F]: gate in the first F
/// columns, up in the last. F32 or BF16 in and out, computed in FP32, σ within 3 units in the last
/// place; g < -87 counts as -87, whose silu is -1.4e-36. BF16 results below 2^-126 may become zero.
void swiglu_forward(Context& ctx, ConstTensorView gate_up_TF2, TensorView y_TF);

/// The same with each row times a weight (that of its routing, so that combining is a plain sum),
/// the input possibly cached as E4M3 in tiles of 1x128 (then F a multiple of 16), and the output
/// quantized in the same pass (from FP32, not from the rounded y).
///   weight_T F32, empty for ones; y_TF may be empty if q is not.
void swiglu_forward(Context& ctx, const GemmInput& gate_up_TF2, ConstTensorView weight_T,
                    TensorView y_TF, const QuantizedOutput& q);

/// dg = dy ⊙ u ⊙ σ(g)(1 + g(1 − σ(g))), du = dy ⊙ silu(g), written to dgate_up_TF2 [T, 2F].
void swiglu_backward(Context& ctx, ConstTensorView gate_up_TF2, ConstTensorView dy_TF,
                     TensorView dgate_up_TF2);

/// What the backward pass writes; an empty view is not written, but one of the first two must be.
struct SwigluGradients {
  TensorView dgate_up_TF2;
  QuantizedOutput dgate_up_quantized;
  TensorView act_TF;     ///< the forward output again, for the weight gradient of what consumes it
  TensorView dweight_T;  ///< F32: Σ_F dy ⊙ silu(g) ⊙ u
};

/// The backward pass of the second forward: dy times weight in place of dy.
void swiglu_backward(Context& ctx, const GemmInput& gate_up_TF2, ConstTensorView weight_T,
                     ConstTensorView dy_TF, const SwigluGradients& out);

}  // namespace fathom::kernels
