#include "model/mlp.h"

#include "kernels/swiglu.h"

namespace fathom {

MlpSaved mlp_forward(const Pass& pass, const MlpWeights& w, ConstTensorView x_TD,
                     TensorView residual_TD) {
  const int64_t tokens = x_TD.rows(), width = w.gate_proj.rows();
  MlpSaved saved{x_TD, pass.alloc_activation(tokens, 2 * width)};
  ArenaScope scope(pass.ctx.arena);
  kernels::SwigluOutput out;
  out.act_MN = pass.alloc_activation(tokens, width);
  out.gate_up_MN2 = saved.gate_up_TF2;
  kernels::gemm_nt_swiglu(pass.ctx, x_TD, w.gate_proj.operand(), w.up_proj.operand(), out,
                          pass.precision);
  linear_forward(pass, w.down_proj, out.act_MN, residual_TD, true);
  return saved;
}

MlpGradients mlp_backward_input(const Pass& pass, const MlpWeights& w, const MlpSaved& saved,
                                ConstTensorView dy_TD, TensorView dx_TD, bool accumulate) {
  const int64_t tokens = dy_TD.rows(), width = w.gate_proj.rows();
  MlpGradients g{dy_TD, pass.alloc_activation(tokens, 2 * width),
                 pass.alloc_activation(tokens, width)};
  {
    ArenaScope scope(pass.ctx.arena);
    const TensorView dact_TF = pass.alloc_activation(tokens, width);
    linear_backward_input(pass, w.down_proj, dy_TD, dact_TF);
    kernels::SwigluGradients out;
    out.dgate_up_TF2 = g.dgate_up_TF2;
    out.act_TF = g.act_TF;
    kernels::swiglu_backward(pass.ctx, saved.gate_up_TF2, {}, dact_TF, out);
  }
  linear_backward_input(pass, w.gate_proj, g.dgate_up_TF2.col_range(0, width), dx_TD, accumulate);
  linear_backward_input(pass, w.up_proj, g.dgate_up_TF2.col_range(width, width), dx_TD, true);
  return g;
}

void mlp_backward_weight(const Pass& pass, const MlpWeights& w, const MlpSaved& saved,
                         const MlpGradients& g) {
  const int64_t width = w.gate_proj.rows();
  linear_backward_weight(pass, w.down_proj, g.dy_TD, g.act_TF);
  linear_backward_weight(pass, w.gate_proj, g.dgate_up_TF2.col_range(0, width), saved.x_TD);
  linear_backward_weight(pass, w.up_proj, g.dgate_up_TF2.col_range(width, width), saved.x_TD);
}

}  // namespace fathom
