#include "model/moe.h"

#include "kernels/elementwise.h"
#include "kernels/swiglu.h"

namespace fathom {
namespace {

using kernels::GemmOptions;
using kernels::GemmPrecision;

std::vector<kernels::GemmInput> weights_of(const std::vector<MlpWeights>& experts,
                                           Parameter MlpWeights::*member) {
  std::vector<kernels::GemmInput> views;
  views.reserve(experts.size());
  for (const MlpWeights& e : experts) views.push_back((e.*member).operand());
  return views;
}

std::vector<TensorView> grads_of(const std::vector<MlpWeights>& experts,
                                 Parameter MlpWeights::*member) {
  std::vector<TensorView> views;
  views.reserve(experts.size());
  for (const MlpWeights& e : experts) views.push_back((e.*member).grad);
  return views;
}

kernels::GroupOffsets offsets_of(const MoeSaved& saved) {
  const TensorView& offsets = saved.plan.offset_E1;
  return {offsets.as<int64_t>(), static_cast<size_t>(offsets.elements())};
}

// The gate is computed in FP32 whatever the precision of the pass (spec A.4, HF): its products
// decide which experts a token sees.
constexpr GemmOptions kGateGemm{GemmPrecision::kF32, false};
constexpr GemmOptions kGateGemmAccumulate{GemmPrecision::kF32, true};

int64_t sequence_length(const Pass& pass) {
  return pass.sequence_offsets[1] - pass.sequence_offsets[0];
}

}  // namespace

MoeSaved Moe::dispatch(const Pass& pass, ConstTensorView x_TD, BalanceLoss balance) const {
  const int64_t tokens = x_TD.rows(), experts = config_.n_routed_experts;
  const int64_t top_k = config_.num_experts_per_tok;
  const kernels::GateConfig gate = config_.gate();
  Context& ctx = pass.ctx;
  MoeSaved saved;
  saved.x_TD = x_TD;
  saved.scores_TE = pass.alloc_f32(tokens, experts);
  saved.expert_TK = ctx.arena.alloc(DType::kI32, {tokens, top_k});
  saved.weight_TK = pass.alloc_f32(tokens, top_k);
  if (balance.alpha != 0) saved.dscore_normalized_TE = pass.alloc_f32(tokens, experts);
  {
    ArenaScope scope(ctx.arena);
    const TensorView logits_TE = pass.alloc_f32(tokens, experts);
    kernels::gemm_nt(ctx, x_TD, w_.gate.operand(), logits_TE, kGateGemm);
    kernels::gating_forward(ctx, gate, logits_TE, w_.e_score_correction_bias.weight,
                            saved.scores_TE, saved.expert_TK, saved.weight_TK);
  }
  if (balance.alpha != 0)
    saved.balance_loss =
        kernels::sequence_balance_loss(ctx, gate, saved.scores_TE, sequence_length(pass),
                                       balance.alpha, balance.scale, saved.dscore_normalized_TE);
  saved.plan = kernels::plan_experts(ctx, saved.expert_TK, experts);
  saved.dispatched_SD = pass.alloc_activation(tokens * top_k, x_TD.cols());
  kernels::permute(ctx, saved.plan, x_TD, saved.dispatched_SD);
  return saved;
}

void Moe::experts(const Pass& pass, MoeSaved& saved, TensorView residual_TD) const {
  const int64_t slots = saved.dispatched_SD.rows(), width = config_.moe_intermediate_size;
  const auto offsets = offsets_of(saved);
  Context& ctx = pass.ctx;
  saved.gate_up_SF2 = pass.alloc_activation(slots, 2 * width);
  saved.expert_out_SD = pass.alloc_activation(slots, saved.dispatched_SD.cols());
  {
    ArenaScope scope(ctx.arena);
    kernels::SwigluOutput out;
    out.act_MN = pass.alloc_activation(slots, width);
    out.gate_up_MN2 = saved.gate_up_SF2;
    kernels::grouped_gemm_nt_swiglu(
        ctx, saved.dispatched_SD, weights_of(w_.experts, &MlpWeights::gate_proj),
        weights_of(w_.experts, &MlpWeights::up_proj), out, offsets, pass.precision);
    kernels::grouped_gemm_nt(ctx, out.act_MN, weights_of(w_.experts, &MlpWeights::down_proj),
                             saved.expert_out_SD, offsets, {pass.precision, false});
  }
  if (w_.shared_experts.gate_proj)
    saved.shared = mlp_forward(pass, w_.shared_experts, saved.x_TD, residual_TD);
}

void Moe::combine(const Pass& pass, const MoeSaved& saved, TensorView residual_TD) const {
  kernels::unpermute(pass.ctx, saved.plan, saved.expert_out_SD, saved.weight_TK, residual_TD);
}

MoeGradients Moe::combine_backward(const Pass& pass, const MoeSaved& saved,
                                   ConstTensorView dresidual_TD) const {
  MoeGradients g;
  g.dexpert_out_SD = pass.alloc_activation(saved.expert_out_SD.rows(), saved.expert_out_SD.cols());
  g.dweight_TK = pass.alloc_f32(saved.weight_TK.rows(), saved.weight_TK.cols());
  kernels::unpermute_backward(pass.ctx, saved.plan, dresidual_TD, saved.expert_out_SD,
                              saved.weight_TK, g.dexpert_out_SD, g.dweight_TK);
  return g;
}

void Moe::experts_backward_input(const Pass& pass, const MoeSaved& saved, ConstTensorView dy_TD,
                                 MoeGradients& g, TensorView dx_TD) const {
  const int64_t slots = saved.dispatched_SD.rows(), width = config_.moe_intermediate_size;
  const auto offsets = offsets_of(saved);
  Context& ctx = pass.ctx;
  g.dgate_up_SF2 = pass.alloc_activation(slots, 2 * width);
  g.act_SF = pass.alloc_activation(slots, width);
  g.ddispatched_SD = pass.alloc_f32(slots, saved.dispatched_SD.cols());
  {
    ArenaScope scope(ctx.arena);
    const TensorView dact_SF = pass.alloc_activation(slots, width);
    kernels::grouped_gemm_nn(ctx, g.dexpert_out_SD, weights_of(w_.experts, &MlpWeights::down_proj),
                             dact_SF, offsets, {pass.precision, false});
    kernels::SwigluGradients out;
    out.dgate_up_TF2 = g.dgate_up_SF2;
    out.act_TF = g.act_SF;
    kernels::swiglu_backward(ctx, saved.gate_up_SF2, {}, dact_SF, out);
  }
  kernels::grouped_gemm_nn(ctx, g.dgate_up_SF2.col_range(0, width),
                           weights_of(w_.experts, &MlpWeights::gate_proj), g.ddispatched_SD,
                           offsets, {pass.precision, false});
  kernels::grouped_gemm_nn(ctx, g.dgate_up_SF2.col_range(width, width),
                           weights_of(w_.experts, &MlpWeights::up_proj), g.ddispatched_SD, offsets,
                           {pass.precision, true});
  if (w_.shared_experts.gate_proj)
    g.shared = mlp_backward_input(pass, w_.shared_experts, saved.shared, dy_TD, dx_TD, false);
  else
    kernels::fill(ctx, dx_TD, 0);
}

void Moe::dispatch_backward_input(const Pass& pass, const MoeSaved& saved, MoeGradients& g,
                                  TensorView dx_TD) const {
  Context& ctx = pass.ctx;
  g.dlogits_TE = pass.alloc_f32(saved.scores_TE.rows(), saved.scores_TE.cols());
  kernels::gating_backward(ctx, config_.gate(), saved.scores_TE, saved.expert_TK, g.dweight_TK,
                           saved.dscore_normalized_TE, g.dlogits_TE);
  kernels::unpermute(ctx, saved.plan, g.ddispatched_SD, {}, dx_TD);
  kernels::gemm_nn(ctx, g.dlogits_TE, w_.gate.operand(), dx_TD, kGateGemmAccumulate);
}

void Moe::backward_weight(const Pass& pass, const MoeSaved& saved, const MoeGradients& g) const {
  const int64_t width = config_.moe_intermediate_size;
  const auto offsets = offsets_of(saved);
  const GemmOptions options{pass.precision, true};
  Context& ctx = pass.ctx;
  kernels::grouped_gemm_tn(ctx, g.dexpert_out_SD, g.act_SF,
                           grads_of(w_.experts, &MlpWeights::down_proj), offsets, options);
  kernels::grouped_gemm_tn(ctx, g.dgate_up_SF2.col_range(0, width), saved.dispatched_SD,
                           grads_of(w_.experts, &MlpWeights::gate_proj), offsets, options);
  kernels::grouped_gemm_tn(ctx, g.dgate_up_SF2.col_range(width, width), saved.dispatched_SD,
                           grads_of(w_.experts, &MlpWeights::up_proj), offsets, options);
  kernels::gemm_tn(ctx, g.dlogits_TE, saved.x_TD, w_.gate.grad, kGateGemmAccumulate);
  if (w_.shared_experts.gate_proj)
    mlp_backward_weight(pass, w_.shared_experts, saved.shared, g.shared);
}

}  // namespace fathom
