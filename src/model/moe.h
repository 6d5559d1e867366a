#pragma once

#include <vector>

#include "kernels/gating.h"
#include "kernels/permute.h"
#include "model/config.h"
#include "model/mlp.h"

namespace fathom {

/// DeepSeekMoE (spec A.4): a gate, routed experts, and shared experts fused into one MLP.
struct MoeWeights {
  Parameter gate;                     ///< [E, D]
  Parameter e_score_correction_bias;  ///< F32 [E], noaux_tc only; moved by the balance update
  std::vector<MlpWeights> experts;
  MlpWeights shared_experts;  ///< width n_shared_experts · F; empty when there are none
};

/// The sequence-wise balance loss of a training pass (spec A.5): α, and what multiplies the loss in
/// the objective (1 / number of micro-batches). α = 0 switches it off.
struct BalanceLoss {
  float alpha = 0;
  float scale = 1;
};

/// What MoE keeps for its backward, filled phase by phase.
struct MoeSaved {
  // dispatch
  TensorView scores_TE, expert_TK;
  TensorView dscore_normalized_TE;  ///< from the balance loss; empty without it
  float balance_loss = 0;           ///< α-weighted, mean over sequences
  kernels::ExpertPlan plan;
  TensorView weight_S;               ///< F32, of each slot's token and choice
  kernels::GemmInput dispatched_SD;  ///< as activations, or E4M3 in 1x128
  // experts
  MlpSaved routed, shared;
  TensorView expert_out_SD;  ///< for combine alone
};

struct MoeGradients {
  kernels::GemmInput dexpert_out_SD;  // combine: as activations, or E4M3 in 1x128
  MlpGradients routed, shared;        // experts
  ConstTensorView dy_TD;              ///< of the shared experts' output
  TensorView ddispatched_SD;          ///< F32
  TensorView dlogits_TE;              // dispatch
};

/// The phases of a mixture layer, apart so that a schedule can overlap one micro-batch's
/// communication (dispatch, combine) with another's computation. The routing weights multiply the
/// inputs of the experts' down_proj, so that combine is a plain sum and experts' outputs need not
/// be kept. In FP8, rows are quantized with power-of-two scales before they are dispatched, tokens
/// forward and gradients backward; what is combined is not.
class Moe {
 public:
  Moe(const ModelConfig& config, const MoeWeights& weights) : config_(config), w_(weights) {}

  /// Gate, plan, and rows sorted by expert.
  MoeSaved dispatch(const Pass& pass, ConstTensorView x_TD, BalanceLoss balance) const;
  /// Routed experts on the dispatched rows; residual_TD += shared experts(x_TD).
  void experts(const Pass& pass, ConstTensorView x_TD, MoeSaved& saved,
               TensorView residual_TD) const;
  /// residual_TD += Σ_k expert output.
  void combine(const Pass& pass, const MoeSaved& saved, TensorView residual_TD) const;

  /// dresidual_TD F32: gradient of what the layer added to the residual stream.
  MoeGradients combine_backward(const Pass& pass, const MoeSaved& saved,
                                ConstTensorView dresidual_TD) const;
  /// dx_TD (F32) = the shared experts' part of the input gradient, zero without them.
  void experts_backward_input(const Pass& pass, const MoeSaved& saved, ConstTensorView dy_TD,
                              MoeGradients& g, TensorView dx_TD) const;
  /// dx_TD (F32) += the routed experts' and the gate's parts.
  void dispatch_backward_input(const Pass& pass, const MoeSaved& saved, MoeGradients& g,
                               TensorView dx_TD) const;
  /// x_TD: the normed input again.
  void backward_weight(const Pass& pass, ConstTensorView x_TD, const MoeSaved& saved,
                       const MoeGradients& g) const;

 private:
  MlpGroups routed(const MoeSaved& saved) const;
  kernels::GemmInput dispatch_rows(const Pass& pass, const kernels::ExpertPlan& plan,
                                   ConstTensorView x_TD, OperandRole role) const;

  const ModelConfig& config_;
  const MoeWeights& w_;
};

}  // namespace fathom
