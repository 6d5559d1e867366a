#pragma once

#include "base/context.h"
#include "kernels/quantize.h"

namespace fathom::kernels {

/// RMSNorm (Zhang & Sennrich 2019): y = x · rstd · w, rstd = 1 / sqrt(mean(x²) + eps), statistics
/// in FP32 over the last dimension.
///   x_TD F32 or BF16, w_D F32 or BF16, y_TD F32 or BF16, rstd_T F32 (kept for the backward; may be
///   empty).
void rmsnorm_forward(Context& ctx, ConstTensorView x_TD, ConstTensorView w_D, float eps,
                     TensorView y_TD, TensorView rstd_T);

/// The same, the output quantized in the same pass (from FP32, not from the rounded y). y_TD may be
/// empty if q is not.
void rmsnorm_forward(Context& ctx, ConstTensorView x_TD, ConstTensorView w_D, float eps,
                     TensorView y_TD, const QuantizedOutput& q, TensorView rstd_T);

/// dx (+)= rstd · (dy·w − x · rstd² · mean(dy·w·x)).  dx_TD F32 or BF16; accumulate needs F32.
void rmsnorm_backward_input(Context& ctx, ConstTensorView dy_TD, ConstTensorView x_TD,
                            ConstTensorView w_D, ConstTensorView rstd_T, TensorView dx_TD,
                            bool accumulate);

/// dw_D += Σ_t dy · x · rstd.  dw_D F32.
void rmsnorm_backward_weight(Context& ctx, ConstTensorView dy_TD, ConstTensorView x_TD,
                             ConstTensorView rstd_T, TensorView dw_D);

}  // namespace fathom::kernels
