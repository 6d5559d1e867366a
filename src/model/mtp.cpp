#include "model/mtp.h"

namespace fathom {

TensorView Mtp::merge(const Pass& pass, ConstTensorView embedding_TD, ConstTensorView hidden_TD,
                      MtpSaved& saved) const {
  const int64_t tokens = pass.tokens(), width = config_.hidden_size;
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  saved.concat_TD2 = pass.alloc_activation(tokens, 2 * width);
  saved.enorm =
      norm_forward(pass, w_.enorm, eps, embedding_TD, saved.concat_TD2.col_range(0, width));
  saved.hnorm =
      norm_forward(pass, w_.hnorm, eps, hidden_TD, saved.concat_TD2.col_range(width, width));
  const TensorView residual_TD = pass.alloc_f32(tokens, width);
  linear_forward(pass, w_.eh_proj, saved.concat_TD2, residual_TD);
  return residual_TD;
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
  linear_backward_input(pass, w_.eh_proj, g.dblock_in_TD, g.dconcat_TD2);
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
  linear_backward_weight(pass, w_.eh_proj, g.dblock_in_TD, saved.concat_TD2);
  norm_backward_weight(pass, w_.enorm, saved.enorm, g.dconcat_TD2.col_range(0, width));
  norm_backward_weight(pass, w_.hnorm, saved.hnorm, g.dconcat_TD2.col_range(width, width));
}

}  // namespace fathom
