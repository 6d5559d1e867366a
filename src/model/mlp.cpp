#include "model/mlp.h"

#include "kernels/swiglu.h"

namespace fathom {
namespace {

/// Both products and the activation in one pass; with an emulated accumulator one after the other.
void gate_up_forward(const Pass& pass, const MlpGroups& groups, LinearOperand& x_SD,
                     const kernels::SwigluOutput& out) {
  const LinearGroups gate = groups.linears(&MlpWeights::gate_proj);
  const LinearGroups up = groups.linears(&MlpWeights::up_proj);
  const int64_t width = groups.width();
  if (!is_emulated(pass, gate.front())) {
    const auto [gate_weights, offsets] = gate.operands();
    return kernels::grouped_gemm_nt_swiglu(pass.ctx, x_SD.with(gate.front()), gate_weights,
                                           up.operands().weights, out, offsets, pass.precision);
  }
  grouped_linear_forward(pass, gate, x_SD, out.gate_up_MN2.col_range(0, width));
  grouped_linear_forward(pass, up, x_SD, out.gate_up_MN2.col_range(width, width));
  kernels::swiglu_forward(pass.ctx, out.gate_up_MN2, out.weight_M, out.act_MN, out.act_quantized);
}

}  // namespace

LinearGroups MlpGroups::linears(Parameter MlpWeights::*member) const {
  LinearGroups groups{{}, offsets};
  groups.weights.reserve(weights.size());
  for (const MlpWeights& w : weights) groups.weights.push_back(&(w.*member));
  return groups;
}

MlpSaved mlp_forward(const Pass& pass, const MlpGroups& groups, LinearOperand& x_SD,
                     ConstTensorView weight_S, TensorView y_SD, bool accumulate) {
  const int64_t rows = y_SD.rows(), width = groups.width();
  const bool in_fp8 = pass.keeps_fp8() && pass.in_fp8(groups.weights.front().gate_proj);
  kernels::QuantizedView kept_fp8;
  TensorView gate_up_SF2;
  if (in_fp8)
    kept_fp8 = pass.alloc_e4m3(rows, 2 * width);
  else
    gate_up_SF2 = pass.alloc_activation(rows, 2 * width);
  ArenaScope scope(pass.ctx.arena);
  if (in_fp8) gate_up_SF2 = pass.alloc_activation(rows, 2 * width);
  const Parameter& down = groups.weights.front().down_proj;
  kernels::SwigluOutput out;
  const bool fused = is_storable(pass, down, OperandRole::kInput);
  if (fused) out.act_quantized = {pass.alloc_e4m3(rows, width), pass.fp8->scale};
  if (!fused || pass.observer) out.act_MN = pass.alloc_activation(rows, width);
  out.gate_up_MN2 = gate_up_SF2;
  out.weight_M = weight_S;
  gate_up_forward(pass, groups, x_SD, out);
  if (in_fp8) kernels::quantize(pass.ctx, gate_up_SF2, kept_fp8, pass.fp8->scale);
  if (fused) observe_stored(pass, down, OperandRole::kInput, out.act_MN);
  LinearOperand act_SF(
      pass, OperandRole::kInput,
      fused ? kernels::GemmInput(out.act_quantized.view) : kernels::GemmInput(out.act_MN));
  grouped_linear_forward(pass, groups.linears(&MlpWeights::down_proj), act_SF, y_SD, accumulate);
  return {in_fp8 ? kernels::GemmInput(kept_fp8) : kernels::GemmInput(gate_up_SF2)};
}

MlpGradients mlp_backward_input(const Pass& pass, const MlpGroups& groups, const MlpSaved& saved,
                                LinearOperand& dy_SD, ConstTensorView weight_S, TensorView dx_SD,
                                bool accumulate) {
  const int64_t rows = dx_SD.rows(), width = groups.width();
  MlpGradients g{pass.alloc_activation(rows, 2 * width), pass.alloc_activation(rows, width),
                 weight_S ? pass.ctx.arena.alloc(DType::kF32, {rows}) : TensorView{}};
  {
    ArenaScope scope(pass.ctx.arena);
    const TensorView dact_SF = pass.alloc_activation(rows, width);
    grouped_linear_backward_input(pass, groups.linears(&MlpWeights::down_proj), dy_SD, dact_SF);
    kernels::swiglu_backward(pass.ctx, saved.gate_up_SF2, weight_S, dact_SF,
                             {g.dgate_up_SF2, {}, g.act_SF, g.dweight_S});
  }
  ArenaScope scope(pass.ctx.arena);
  LinearOperand dgate_SF(pass, OperandRole::kGradient, g.dgate_up_SF2.col_range(0, width));
  LinearOperand dup_SF(pass, OperandRole::kGradient, g.dgate_up_SF2.col_range(width, width));
  grouped_linear_backward_input(pass, groups.linears(&MlpWeights::gate_proj), dgate_SF, dx_SD,
                                accumulate);
  grouped_linear_backward_input(pass, groups.linears(&MlpWeights::up_proj), dup_SF, dx_SD, true);
  return g;
}

void mlp_backward_weight(const Pass& pass, const MlpGroups& groups, const MlpGradients& g,
                         LinearOperand& dy_SD, LinearOperand& x_SD) {
  ArenaScope scope(pass.ctx.arena);
  const int64_t width = groups.width();
  LinearOperand act_SF(pass, OperandRole::kInputForWeight, g.act_SF);
  const TensorView dgate = g.dgate_up_SF2.col_range(0, width);
  const TensorView dup = g.dgate_up_SF2.col_range(width, width);
  LinearOperand dgate_SF(pass, OperandRole::kGradientForWeight, dgate);
  LinearOperand dup_SF(pass, OperandRole::kGradientForWeight, dup);
  grouped_linear_backward_weight(pass, groups.linears(&MlpWeights::down_proj), dy_SD, act_SF);
  grouped_linear_backward_weight(pass, groups.linears(&MlpWeights::gate_proj), dgate_SF, x_SD);
  grouped_linear_backward_weight(pass, groups.linears(&MlpWeights::up_proj), dup_SF, x_SD);
}

}  // namespace fathom
