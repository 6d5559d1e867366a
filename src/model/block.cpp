#include "model/block.h"

#include "kernels/elementwise.h"
#include "model/fp8_recipe.h"

namespace fathom {
namespace {

// The norm's backward needs the residual stream as it was; later phases add to it. What FP8 passes
// keep of it, and norm, is BF16.
TensorView snapshot(const Pass& pass, ConstTensorView residual_TD) {
  const DType dtype = pass.keeps_fp8() ? DType::kBF16 : DType::kF32;
  const TensorView copy = pass.ctx.arena.alloc(dtype, {residual_TD.rows(), residual_TD.cols()});
  kernels::copy(pass.ctx, residual_TD, copy);
  return copy;
}

// Memory for the output of a norm: the pass's when it will be computed again.
TensorView alloc_normed(const Pass& pass, ConstTensorView residual_TD) {
  if (pass.recompute && pass.normed_TD) return pass.normed_TD;
  return pass.alloc_activation(residual_TD.rows(), residual_TD.cols());
}

// Gradients of the residual stream go into matrix products in the activation format.
TensorView as_activation(const Pass& pass, ConstTensorView dresidual_TD) {
  const TensorView dy = pass.alloc_activation(dresidual_TD.rows(), dresidual_TD.cols());
  kernels::copy(pass.ctx, dresidual_TD, dy);
  return dy;
}

}  // namespace

Block::Block(const ModelConfig& config, const RopeTable& rope, const BlockWeights& weights)
    : config_(config), w_(weights), mla_(config, rope, weights.self_attn) {
  if (weights.moe) moe_.emplace(config, *weights.moe);
}

void Block::attention(const Pass& pass, TensorView residual_TD, BlockSaved& saved) const {
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  saved.input_norm = {snapshot(pass, residual_TD),
                      pass.ctx.arena.alloc(DType::kF32, {residual_TD.rows()})};
  if (pass.normed_fp8_TD.codes && mla_.takes_e4m3(pass)) {
    const TensorView plain_TD = pass.observer ? alloc_normed(pass, residual_TD) : TensorView{};
    norm_forward(pass, w_.input_layernorm, eps, saved.input_norm, plain_TD,
                 {pass.normed_fp8_TD, pass.fp8->scale});
    mla_.observe_input(pass, plain_TD);
    saved.attention = mla_.forward(pass, pass.normed_fp8_TD, residual_TD);
    return;
  }
  saved.attention_x_TD = alloc_normed(pass, residual_TD);
  norm_forward(pass, w_.input_layernorm, eps, saved.input_norm, saved.attention_x_TD);
  saved.attention = mla_.forward(pass, saved.attention_x_TD, residual_TD);
}

/// The output of a norm for the gradients of weights: as it was kept, or computed again.
TensorView Block::normed_again(const Pass& pass, const Parameter& w, const NormSaved& saved,
                               TensorView kept_TD) const {
  if (!pass.recompute) return kept_TD;
  const TensorView x_TD = pass.alloc_activation(saved.x_TD.rows(), saved.x_TD.cols());
  norm_forward(pass, w, static_cast<float>(config_.rms_norm_eps), saved, x_TD);
  return x_TD;
}

void Block::dispatch(const Pass& pass, TensorView residual_TD, BalanceLoss balance,
                     BlockSaved& saved) const {
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  saved.ffn_x_TD = alloc_normed(pass, residual_TD);
  saved.ffn_norm = norm_forward(pass, w_.post_attention_layernorm, eps, snapshot(pass, residual_TD),
                                saved.ffn_x_TD);
  if (moe_) saved.moe = moe_->dispatch(pass, saved.ffn_x_TD, balance);
}

void Block::experts(const Pass& pass, TensorView residual_TD, BlockSaved& saved) const {
  if (moe_) return moe_->experts(pass, saved.ffn_x_TD, saved.moe, residual_TD);
  LinearOperand x(pass, OperandRole::kInput, saved.ffn_x_TD);
  saved.mlp = mlp_forward(pass, WholeMlp(w_.mlp, pass.tokens()), x, {}, residual_TD, true);
}

void Block::combine(const Pass& pass, TensorView residual_TD, BlockSaved& saved) const {
  if (moe_) moe_->combine(pass, saved.moe, residual_TD);
}

void Block::ffn(const Pass& pass, TensorView residual_TD, BalanceLoss balance,
                BlockSaved& saved) const {
  dispatch(pass, residual_TD, balance, saved);
  experts(pass, residual_TD, saved);
  combine(pass, residual_TD, saved);
}

BlockSaved Block::forward(const Pass& pass, TensorView residual_TD, BalanceLoss balance) const {
  BlockSaved saved;
  attention(pass, residual_TD, saved);
  ffn(pass, residual_TD, balance, saved);
  return saved;
}

void Block::combine_backward(const Pass& pass, const BlockSaved& saved, TensorView dresidual_TD,
                             BlockGradients& g) const {
  if (moe_) g.moe = moe_->combine_backward(pass, saved.moe, dresidual_TD);
}

void Block::experts_backward_input(const Pass& pass, const BlockSaved& saved,
                                   TensorView dresidual_TD, BlockGradients& g) const {
  const TensorView dy_TD = as_activation(pass, dresidual_TD);
  g.dffn_x_TD = pass.alloc_f32(dresidual_TD.rows(), dresidual_TD.cols());
  if (moe_) return moe_->experts_backward_input(pass, saved.moe, dy_TD, g.moe, g.dffn_x_TD);
  g.dmlp_TD = dy_TD;
  LinearOperand dy(pass, OperandRole::kGradient, dy_TD);
  g.mlp = mlp_backward_input(pass, WholeMlp(w_.mlp, pass.tokens()), saved.mlp, dy, {}, g.dffn_x_TD,
                             false);
}

void Block::dispatch_backward_input(const Pass& pass, const BlockSaved& saved,
                                    TensorView dresidual_TD, BlockGradients& g) const {
  if (moe_) moe_->dispatch_backward_input(pass, saved.moe, g.moe, g.dffn_x_TD);
  norm_backward_input(pass, w_.post_attention_layernorm, saved.ffn_norm, g.dffn_x_TD, dresidual_TD,
                      true);
}

void Block::attention_backward_input(const Pass& pass, const BlockSaved& saved,
                                     TensorView dresidual_TD, BlockGradients& g) const {
  const TensorView dy_TD = as_activation(pass, dresidual_TD);
  g.dattention_x_TD = pass.alloc_f32(dresidual_TD.rows(), dresidual_TD.cols());
  g.attention = mla_.backward_input(pass, saved.attention, dy_TD, g.dattention_x_TD);
  norm_backward_input(pass, w_.input_layernorm, saved.input_norm, g.dattention_x_TD, dresidual_TD,
                      true);
}

BlockGradients Block::backward_input(const Pass& pass, const BlockSaved& saved,
                                     TensorView dresidual_TD) const {
  BlockGradients g;
  combine_backward(pass, saved, dresidual_TD, g);
  experts_backward_input(pass, saved, dresidual_TD, g);
  dispatch_backward_input(pass, saved, dresidual_TD, g);
  attention_backward_input(pass, saved, dresidual_TD, g);
  return g;
}

void Block::backward_weight(const Pass& pass, const BlockSaved& saved,
                            const BlockGradients& g) const {
  ffn_backward_weight(pass, saved, g);
  norm_backward_weight(pass, w_.post_attention_layernorm, saved.ffn_norm, g.dffn_x_TD);
  ArenaScope scope(pass.ctx.arena);
  const TensorView x_TD =
      normed_again(pass, w_.input_layernorm, saved.input_norm, saved.attention_x_TD);
  mla_.backward_weight(pass, x_TD, g.attention);
  norm_backward_weight(pass, w_.input_layernorm, saved.input_norm, g.dattention_x_TD);
}

void Block::ffn_backward_weight(const Pass& pass, const BlockSaved& saved,
                                const BlockGradients& g) const {
  ArenaScope scope(pass.ctx.arena);
  const TensorView x_TD =
      normed_again(pass, w_.post_attention_layernorm, saved.ffn_norm, saved.ffn_x_TD);
  if (moe_) return moe_->backward_weight(pass, x_TD, saved.moe, g.moe);
  LinearOperand dy(pass, OperandRole::kGradientForWeight, g.dmlp_TD);
  LinearOperand x(pass, OperandRole::kInputForWeight, x_TD);
  mlp_backward_weight(pass, WholeMlp(w_.mlp, pass.tokens()), g.mlp, dy, x);
}

}  // namespace fathom
