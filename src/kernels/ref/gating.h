#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/gating.h"
#include "kernels/ref/ops.h"

/// The definitions of kernels/gating.h in double precision.
namespace fathom::kernels::ref {

/// The scores of one token.
Values gate_scores(GateScoring scoring, std::span<const double> logits_E);

/// The experts chosen for one token: a sort of all experts, those of rejected groups at −inf.
/// In FP32, because a choice has no tolerance: ties and near-ties must be those of the kernel.
std::vector<int32_t> gate_choose(const GateConfig& config, std::span<const float> biased_E);

/// The weights of one token's chosen experts.
Values gate_weights(const GateConfig& config, std::span<const double> scores_E,
                    std::span<const int32_t> expert_K);

/// One token's dlogits_E; dnormalized_E may be empty.
Values gate_backward(const GateConfig& config, std::span<const double> scores_E,
                     std::span<const int32_t> expert_K, std::span<const double> dweight_K,
                     std::span<const double> dnormalized_E);

/// The balance loss of one sequence, given the normalised scores s' and how often each expert was
/// among the top-k: α Σ_i f_i P_i.
double sequence_balance(const GateConfig& config, const Values& normalized_TE,
                        std::span<const int64_t> count_E, double alpha);

}  // namespace fathom::kernels::ref
