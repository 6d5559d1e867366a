#pragma once

#include "model/linear.h"

namespace fathom {

/// SwiGLU feed-forward: down(silu(gate x) ⊙ up x). A dense layer's, a shared expert's, or one
/// routed expert's weights.
struct MlpWeights {
  Parameter gate_proj, up_proj;  ///< [F, D]
  Parameter down_proj;           ///< [D, F]
};

/// What the MLP keeps for its backward. The input of down_proj is computed again (spec C).
struct MlpSaved {
  ConstTensorView x_TD;
  TensorView gate_up_TF2;  ///< [T, 2F]: gate, then up
};

struct MlpGradients {
  ConstTensorView dy_TD;
  TensorView dgate_up_TF2;
  TensorView act_TF;  ///< input of down_proj
};

/// residual_TD (F32) += MLP(x_TD).
MlpSaved mlp_forward(const Pass& pass, const MlpWeights& w, ConstTensorView x_TD,
                     TensorView residual_TD);
/// dx_TD (F32) (+)= gradient of x_TD.
MlpGradients mlp_backward_input(const Pass& pass, const MlpWeights& w, const MlpSaved& saved,
                                ConstTensorView dy_TD, TensorView dx_TD, bool accumulate);
void mlp_backward_weight(const Pass& pass, const MlpWeights& w, const MlpSaved& saved,
                         const MlpGradients& g);

}  // namespace fathom
