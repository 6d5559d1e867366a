#pragma once

#include "kernels/gemm.h"
#include "model/parameter.h"
#include "model/pass.h"

namespace fathom {

/// y = x·Wᵀ; w is [N, K] as in the checkpoint. FLOPs 2·T·N·K each.
inline void linear_forward(const Pass& pass, const Parameter& w, ConstTensorView x_TK,
                           TensorView y_TN, bool accumulate = false) {
  kernels::gemm_nt(pass.ctx, x_TK, w.operand(), y_TN, {pass.precision, accumulate});
}

/// dx = dy·W.
inline void linear_backward_input(const Pass& pass, const Parameter& w, ConstTensorView dy_TN,
                                  TensorView dx_TK, bool accumulate = false) {
  kernels::gemm_nn(pass.ctx, dy_TN, w.operand(), dx_TK, {pass.precision, accumulate});
}

/// dW += dyᵀ·x.
inline void linear_backward_weight(const Pass& pass, const Parameter& w, ConstTensorView dy_TN,
                                   ConstTensorView x_TK) {
  kernels::gemm_tn(pass.ctx, dy_TN, x_TK, w.grad, {pass.precision, true});
}

}  // namespace fathom
