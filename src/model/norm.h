#pragma once

#include "kernels/rmsnorm.h"
#include "model/parameter.h"
#include "model/pass.h"

namespace fathom {

/// What RMSNorm keeps for its backward: a view of its input, which must outlive it, and 1/rms.
struct NormSaved {
  ConstTensorView x_TD;
  TensorView rstd_T;  ///< F32
};

/// Into memory for 1/rms that there is already.
inline void norm_forward(const Pass& pass, const Parameter& w, float eps, const NormSaved& saved,
                         TensorView y_TD) {
  kernels::rmsnorm_forward(pass.ctx, saved.x_TD, w.weight, eps, y_TD, saved.rstd_T);
}

/// The same, into an E4M3 operand; y_TD may be empty.
inline void norm_forward(const Pass& pass, const Parameter& w, float eps, const NormSaved& saved,
                         TensorView y_TD, const kernels::QuantizedOutput& y_fp8_TD) {
  kernels::rmsnorm_forward(pass.ctx, saved.x_TD, w.weight, eps, y_TD, y_fp8_TD, saved.rstd_T);
}

inline NormSaved norm_forward(const Pass& pass, const Parameter& w, float eps, ConstTensorView x_TD,
                              TensorView y_TD) {
  NormSaved saved{x_TD, pass.ctx.arena.alloc(DType::kF32, {x_TD.rows()})};
  norm_forward(pass, w, eps, saved, y_TD);
  return saved;
}

inline void norm_backward_input(const Pass& pass, const Parameter& w, const NormSaved& saved,
                                ConstTensorView dy_TD, TensorView dx_TD, bool accumulate) {
  kernels::rmsnorm_backward_input(pass.ctx, dy_TD, saved.x_TD, w.weight, saved.rstd_T, dx_TD,
                                  accumulate);
}

inline void norm_backward_weight(const Pass& pass, const Parameter& w, const NormSaved& saved,
                                 ConstTensorView dy_TD) {
  kernels::rmsnorm_backward_weight(pass.ctx, dy_TD, saved.x_TD, saved.rstd_T, w.grad);
}

}  // namespace fathom
