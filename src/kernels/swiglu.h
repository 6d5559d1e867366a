#pragma once

#include "base/context.h"

namespace fathom::kernels {

/// y = silu(g) ⊙ u, silu(g) = g / (1 + e^-g). gate_up_TF2 [T, 2F]: gate in the first F columns, up
/// in the last. F32 or BF16 in and out, computed in FP32.
void swiglu_forward(Context& ctx, ConstTensorView gate_up_TF2, TensorView y_TF);

/// dg = dy ⊙ u ⊙ σ(g)(1 + g(1 − σ(g))), du = dy ⊙ silu(g), written to dgate_up_TF2 [T, 2F].
void swiglu_backward(Context& ctx, ConstTensorView gate_up_TF2, ConstTensorView dy_TF,
                     TensorView dgate_up_TF2);

}  // namespace fathom::kernels
