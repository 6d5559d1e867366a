#pragma once

#include <span>

#include "model/linear.h"

namespace fathom {

/// SwiGLU feed-forward: down(silu(gate x) ⊙ up x). A dense layer's, a shared expert's, or one
/// routed expert's weights.
struct MlpWeights {
  Parameter gate_proj, up_proj;  ///< [F, D]
  Parameter down_proj;           ///< [D, F]
};

/// MLPs of one shape with rows of their own, sorted by MLP: routed experts; or one with all rows.
struct MlpGroups {
  std::span<const MlpWeights> weights;
  kernels::GroupOffsets offsets;

  int64_t width() const { return weights.front().gate_proj.rows(); }
  LinearGroups linears(Parameter MlpWeights::*member) const;
};

/// One MLP over all rows.
class WholeMlp {
 public:
  WholeMlp(const MlpWeights& weights, int64_t rows) : weights_(weights), offsets_{0, rows} {}
  operator MlpGroups() const { return {{&weights_, 1}, offsets_}; }  // NOLINT: it is one

 private:
  const MlpWeights& weights_;
  int64_t offsets_[2];
};

/// What MLPs keep for their backward. The input of down_proj is computed again, and so may be that
/// of gate_proj and up_proj (spec C).
struct MlpSaved {
  kernels::GemmInput gate_up_SF2;  ///< [S, 2F], gate then up: as activations, or E4M3 in 1x128
};

struct MlpGradients {
  TensorView dgate_up_SF2;
  TensorView act_SF;     ///< input of down_proj
  TensorView dweight_S;  ///< F32, of weight_S; empty without
};

/// y_SD (+)= weight ⊙ MLP(x): a row's weight (its routing's, F32) multiplies the input of
/// down_proj; empty for ones.
MlpSaved mlp_forward(const Pass& pass, const MlpGroups& groups, LinearOperand& x_SD,
                     ConstTensorView weight_S, TensorView y_SD, bool accumulate);
/// dx_SD (F32) (+)= gradient of x, from dy in the role kGradient.
MlpGradients mlp_backward_input(const Pass& pass, const MlpGroups& groups, const MlpSaved& saved,
                                LinearOperand& dy_SD, ConstTensorView weight_S, TensorView dx_SD,
                                bool accumulate);
/// x and dy in the roles for weights.
void mlp_backward_weight(const Pass& pass, const MlpGroups& groups, const MlpGradients& g,
                         LinearOperand& dy_SD, LinearOperand& x_SD);

}  // namespace fathom
