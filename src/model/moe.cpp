#include "model/moe.h"

#include "kernels/elementwise.h"

namespace fathom {
namespace {

using kernels::GemmOptions;
using kernels::GemmPrecision;

// The gate is computed in FP32 whatever the precision of the pass (spec A.4, HF): its products
// decide which experts a token sees.
constexpr GemmOptions kGateGemm{GemmPrecision::kF32, false};
constexpr GemmOptions kGateGemmAccumulate{GemmPrecision::kF32, true};

// What experts receive has power-of-two scales (spec C).
constexpr bool kPowerOfTwo = true;

int64_t sequence_length(const Pass& pass) {
  return pass.sequence_offsets[1] - pass.sequence_offsets[0];
}

}  // namespace

MlpGroups Moe::routed(const MoeSaved& saved) const {
  const TensorView& offsets = saved.plan.offset_E1;
  return {w_.experts, {offsets.as<int64_t>(), static_cast<size_t>(offsets.elements())}};
}

/// Rows of x in the order of the experts: quantized if that is how experts multiply them.
kernels::GemmInput Moe::dispatch_rows(const Pass& pass, const kernels::ExpertPlan& plan,
                                      ConstTensorView x_TD, OperandRole role) const {
  Context& ctx = pass.ctx;
  const int64_t slots = plan.token_S.elements(), width = x_TD.cols();
  const Parameter& weight =
      role == OperandRole::kInput ? w_.experts.front().gate_proj : w_.experts.front().down_proj;
  if (!is_storable(pass, weight, role)) {
    const TensorView rows_SD = pass.alloc_activation(slots, width);
    kernels::permute(ctx, plan, x_TD, rows_SD);
    return rows_SD;
  }
  observe_stored(pass, weight, role, x_TD, kPowerOfTwo);
  const kernels::QuantizedView rows_SD = pass.alloc_e4m3(slots, width);
  ArenaScope scope(ctx.arena);
  const kernels::QuantizedView x8_TD = pass.alloc_e4m3(x_TD.rows(), width);
  kernels::quantize(ctx, x_TD, x8_TD, kernels::ScaleFormat::kPowerOfTwo);
  kernels::permute(ctx, plan, x8_TD, rows_SD);
  return rows_SD;
}

MoeSaved Moe::dispatch(const Pass& pass, ConstTensorView x_TD, BalanceLoss balance) const {
  const int64_t tokens = x_TD.rows(), experts = config_.n_routed_experts;
  const int64_t top_k = config_.num_experts_per_tok;
  const kernels::GateConfig gate = config_.gate();
  Context& ctx = pass.ctx;
  MoeSaved saved;
  saved.scores_TE = pass.alloc_f32(tokens, experts);
  saved.expert_TK = ctx.arena.alloc(DType::kI32, {tokens, top_k});
  saved.weight_S = ctx.arena.alloc(DType::kF32, {tokens * top_k});
  if (balance.alpha != 0) saved.dscore_normalized_TE = pass.alloc_f32(tokens, experts);
  const TensorView weight_TK = pass.alloc_f32(tokens, top_k);
  {
    ArenaScope scope(ctx.arena);
    const TensorView logits_TE = pass.alloc_f32(tokens, experts);
    kernels::gemm_nt(ctx, x_TD, w_.gate.operand(), logits_TE, kGateGemm);
    kernels::gating_forward(ctx, gate, logits_TE, w_.e_score_correction_bias.weight,
                            saved.scores_TE, saved.expert_TK, weight_TK);
  }
  if (balance.alpha != 0)
    saved.balance_loss =
        kernels::sequence_balance_loss(ctx, gate, saved.scores_TE, sequence_length(pass),
                                       balance.alpha, balance.scale, saved.dscore_normalized_TE);
  saved.plan = kernels::plan_experts(ctx, saved.expert_TK, experts);
  kernels::permute_choices(ctx, saved.plan, weight_TK, saved.weight_S);
  saved.dispatched_SD = dispatch_rows(pass, saved.plan, x_TD, OperandRole::kInput);
  return saved;
}

void Moe::experts(const Pass& pass, ConstTensorView x_TD, MoeSaved& saved,
                  TensorView residual_TD) const {
  const int64_t slots = saved.dispatched_SD.rows(), width = saved.dispatched_SD.cols();
  saved.expert_out_SD =
      pass.expert_out_SD ? pass.expert_out_SD : pass.alloc_activation(slots, width);
  LinearOperand rows_SD(pass, OperandRole::kInput, saved.dispatched_SD, kPowerOfTwo);
  saved.routed =
      mlp_forward(pass, routed(saved), rows_SD, saved.weight_S, saved.expert_out_SD, false);
  if (!w_.shared_experts.gate_proj) return;
  LinearOperand x(pass, OperandRole::kInput, x_TD);
  saved.shared =
      mlp_forward(pass, WholeMlp(w_.shared_experts, x_TD.rows()), x, {}, residual_TD, true);
}

void Moe::combine(const Pass& pass, const MoeSaved& saved, TensorView residual_TD) const {
  kernels::unpermute(pass.ctx, saved.plan, saved.expert_out_SD, {}, residual_TD);
}

MoeGradients Moe::combine_backward(const Pass& pass, const MoeSaved& saved,
                                   ConstTensorView dresidual_TD) const {
  MoeGradients g;
  g.dexpert_out_SD = dispatch_rows(pass, saved.plan, dresidual_TD, OperandRole::kGradient);
  return g;
}

void Moe::experts_backward_input(const Pass& pass, const MoeSaved& saved, ConstTensorView dy_TD,
                                 MoeGradients& g, TensorView dx_TD) const {
  const int64_t slots = saved.dispatched_SD.rows(), width = saved.dispatched_SD.cols();
  g.dy_TD = dy_TD;
  g.ddispatched_SD = pass.alloc_f32(slots, width);
  LinearOperand rows_SD(pass, OperandRole::kGradient, g.dexpert_out_SD, kPowerOfTwo);
  g.routed = mlp_backward_input(pass, routed(saved), saved.routed, rows_SD, saved.weight_S,
                                g.ddispatched_SD, false);
  if (!w_.shared_experts.gate_proj) return kernels::fill(pass.ctx, dx_TD, 0);
  LinearOperand dy(pass, OperandRole::kGradient, dy_TD);
  g.shared = mlp_backward_input(pass, WholeMlp(w_.shared_experts, dy_TD.rows()), saved.shared, dy,
                                {}, dx_TD, false);
}

void Moe::dispatch_backward_input(const Pass& pass, const MoeSaved& saved, MoeGradients& g,
                                  TensorView dx_TD) const {
  Context& ctx = pass.ctx;
  g.dlogits_TE = pass.alloc_f32(saved.scores_TE.rows(), saved.scores_TE.cols());
  {
    ArenaScope scope(ctx.arena);
    const TensorView dweight_TK = pass.alloc_f32(saved.expert_TK.rows(), saved.expert_TK.cols());
    kernels::unpermute_choices(ctx, saved.plan, g.routed.dweight_S, dweight_TK);
    kernels::gating_backward(ctx, config_.gate(), saved.scores_TE, saved.expert_TK, dweight_TK,
                             saved.dscore_normalized_TE, g.dlogits_TE);
  }
  kernels::unpermute(ctx, saved.plan, g.ddispatched_SD, {}, dx_TD);
  kernels::gemm_nn(ctx, g.dlogits_TE, w_.gate.operand(), dx_TD, kGateGemmAccumulate);
}

void Moe::backward_weight(const Pass& pass, ConstTensorView x_TD, const MoeSaved& saved,
                          const MoeGradients& g) const {
  {
    ArenaScope scope(pass.ctx.arena);
    LinearOperand dy(pass, OperandRole::kGradientForWeight, g.dexpert_out_SD, kPowerOfTwo);
    LinearOperand x(pass, OperandRole::kInputForWeight, saved.dispatched_SD, kPowerOfTwo);
    mlp_backward_weight(pass, routed(saved), g.routed, dy, x);
  }
  kernels::gemm_tn(pass.ctx, g.dlogits_TE, x_TD, w_.gate.grad, kGateGemmAccumulate);
  if (!w_.shared_experts.gate_proj) return;
  ArenaScope scope(pass.ctx.arena);
  LinearOperand dy(pass, OperandRole::kGradientForWeight, g.dy_TD);
  LinearOperand x(pass, OperandRole::kInputForWeight, x_TD);
  mlp_backward_weight(pass, WholeMlp(w_.shared_experts, x_TD.rows()), g.shared, dy, x);
}

}  // namespace fathom
