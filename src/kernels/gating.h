#pragma once

#include <cstdint>

#include "base/context.h"

namespace fathom::kernels {

enum class GateScoring : uint8_t { kSigmoid, kSoftmax };
/// kGreedy: top-k of all experts. kGroupMax: only within the topk_groups groups whose best expert
/// is highest (V2, group_limited_greedy). kGroupTop2: groups ranked by the sum of their two highest
/// biased scores (V3, noaux_tc).
enum class GateSelection : uint8_t { kGreedy, kGroupMax, kGroupTop2 };

struct GateConfig {
  int64_t experts = 0, top_k = 0;
  int64_t groups = 1, topk_groups = 1;
  GateScoring scoring = GateScoring::kSigmoid;
  GateSelection selection = GateSelection::kGreedy;
  bool normalize = true;  ///< divide by the sum of the chosen scores (+1e-20)
  float scaling_factor = 1;
};

/// The gate of DeepSeekMoE (spec A.4). logits_TE F32 [T,E]; bias_E F32 or empty: added to the
/// scores for selection only. Outputs: scores_TE F32 (sigmoid or softmax, un-biased, kept for the
/// backward), expert_TK I32 (chosen experts, by falling biased score; lowest index first on ties),
/// weight_TK F32 (the gate values that multiply expert outputs). Rejected groups are masked with
/// −inf. A NaN score ranks above all others, as in PyTorch's topk, so that it shows in the loss.
void gating_forward(Context& ctx, const GateConfig& config, ConstTensorView logits_TE,
                    ConstTensorView bias_E, TensorView scores_TE, TensorView expert_TK,
                    TensorView weight_TK);

/// dlogits_TE F32 from dweight_TK F32 (gradient of the chosen weights; the choice itself has none),
/// plus dscore_normalized_TE when given: gradient with respect to s'_i = s_i / Σ_j s_j, which is
/// how the sequence-wise balance loss (spec A.5) enters.
void gating_backward(Context& ctx, const GateConfig& config, ConstTensorView scores_TE,
                     ConstTensorView expert_TK, ConstTensorView dweight_TK,
                     ConstTensorView dscore_normalized_TE, TensorView dlogits_TE);

/// The sequence-wise balance loss of spec A.5 (TR eqs 17-20): returns α Σ_i f_i P_i averaged over
/// the sequences of seq_len tokens, and writes its gradient times loss_scale with respect to the
/// normalised scores s' to dscore_normalized_TE (may be empty). f counts the top-k of the un-biased
/// scores, as printed in eq 18.
float sequence_balance_loss(Context& ctx, const GateConfig& config, ConstTensorView scores_TE,
                            int64_t seq_len, float alpha, float loss_scale,
                            TensorView dscore_normalized_TE);

}  // namespace fathom::kernels
