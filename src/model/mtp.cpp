#include "model/mtp.h"

namespace fathom {

TensorView Mtp::merge(const Pass& pass, ConstTensorView embedding_TD, ConstTensorView hidden_TD,
                      MtpSaved& saved) const {
  const int64_t tokens = pass.tokens(), width = config_.hidden_size;
  const auto alloc_rstd = [&] { return pass.ctx.arena.alloc(DType::kF32, {tokens}); };
  saved.enorm = {embedding_TD, alloc_rstd()};
  saved.hnorm = {hidden_TD, alloc_rstd()};
  const TensorView residual_TD = pass.alloc_f32(tokens, width);
  if (!pass.recompute) saved.concat_TD2 = pass.alloc_activation(tokens, 2 * width);
  ArenaScope scope(pass.ctx.arena);
  const TensorView concat_TD2 =
      saved.concat_TD2 ? saved.concat_TD2 : pass.alloc_activation(tokens, 2 * width);
  concatenate(pass, saved, concat_TD2);
  linear_forward(pass, w_.eh_proj, concat_TD2, residual_TD);
  return residual_TD;
}

void Mtp::concatenate(const Pass& pass, const MtpSaved& saved, TensorView concat_TD2) const {
  const int64_t width = config_.hidden_size;
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  norm_forward(pass, w_.enorm, eps, saved.enorm, concat_TD2.col_range(0, width));
  norm_forward(pass, w_.hnorm, eps, saved.hnorm, concat_TD2.col_range(width, width));
}

TensorView Mtp::head_norm(const Pass& pass, ConstTensorView residual_TD, MtpSaved& saved) const {
  const TensorView hidden_TD = pass.alloc_f32(residual_TD.rows(), residual_TD.cols());
  saved.head_norm = norm_forward(pass, w_.shared_head_norm,
                                 static_cast<float>(config_.rms_norm_eps), residual_TD, hidden_TD);
  return hidden_TD;
}

TensorView Mtp::forward(const Pass& pass, ConstTensorView embedding_TD, ConstTensorView hidden_TD,
                        BalanceLoss balance, MtpSaved& saved) const {
  const TensorView residual_TD = merge(pass, embedding_TD, hidden_TD, saved);
  saved.block = block_.forward(pass, residual_TD, balance);
  return head_norm(pass, residual_TD, saved);
}

MtpGradients Mtp::backward_input(const Pass& pass, const MtpSaved& saved, TensorView dhidden_TD,
                                 TensorView dembedding_TD, TensorView dprevious_TD) const {
  const int64_t tokens = pass.tokens(), width = config_.hidden_size;
  MtpGradients g;
  g.dhidden_TD = dhidden_TD;
  g.dblock_in_TD = pass.alloc_f32(tokens, width);
  norm_backward_input(pass, w_.shared_head_norm, saved.head_norm, dhidden_TD, g.dblock_in_TD,
                      false);
  g.block = block_.backward_input(pass, saved.block, g.dblock_in_TD);
  g.dconcat_TD2 = pass.alloc_f32(tokens, 2 * width);
  {
    ArenaScope scope(pass.ctx.arena);
    LinearOperand dy(pass, OperandRole::kGradient, g.dblock_in_TD);
    linear_backward_input(pass, w_.eh_proj, dy, g.dconcat_TD2);
  }
  norm_backward_input(pass, w_.enorm, saved.enorm, g.dconcat_TD2.col_range(0, width), dembedding_TD,
                      true);
  norm_backward_input(pass, w_.hnorm, saved.hnorm, g.dconcat_TD2.col_range(width, width),
                      dprevious_TD, true);
  return g;
}

void Mtp::backward_weight(const Pass& pass, const MtpSaved& saved, const MtpGradients& g) const {
  const int64_t width = config_.hidden_size;
  norm_backward_weight(pass, w_.shared_head_norm, saved.head_norm, g.dhidden_TD);
  block_.backward_weight(pass, saved.block, g.block);
  eh_backward_weight(pass, saved, g);
  norm_backward_weight(pass, w_.enorm, saved.enorm, g.dconcat_TD2.col_range(0, width));
  norm_backward_weight(pass, w_.hnorm, saved.hnorm, g.dconcat_TD2.col_range(width, width));
}

void Mtp::eh_backward_weight(const Pass& pass, const MtpSaved& saved, const MtpGradients& g) const {
  ArenaScope scope(pass.ctx.arena);
  TensorView concat_TD2 = saved.concat_TD2;
  if (pass.recompute) {
    concat_TD2 = pass.alloc_activation(pass.tokens(), 2 * config_.hidden_size);
    concatenate(pass, saved, concat_TD2);
  }
  LinearOperand dy(pass, OperandRole::kGradientForWeight, g.dblock_in_TD);
  LinearOperand x(pass, OperandRole::kInputForWeight, concat_TD2);
  linear_backward_weight(pass, w_.eh_proj, dy, x);
}

}  // namespace fathom
