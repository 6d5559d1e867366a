#include "model/transformer.h"

#include "kernels/elementwise.h"
#include "kernels/embedding.h"

namespace fathom {

Transformer::Transformer(ModelConfig config, const ModelWeights& weights, int64_t positions)
    : config_(std::move(config)), weights_(weights), rope_(config_, positions) {
  layers_.reserve(weights_.layers.size());
  for (const BlockWeights& w : weights_.layers) layers_.emplace_back(config_, rope_, w);
  mtp_.reserve(weights_.mtp.size());
  for (const MtpWeights& w : weights_.mtp) mtp_.emplace_back(config_, rope_, w);
}

TensorView Transformer::embed(const Pass& pass, std::span<const int32_t> token_T) const {
  const TensorView x_TD = pass.alloc_f32(static_cast<int64_t>(token_T.size()), config_.hidden_size);
  kernels::embedding_forward(pass.ctx, weights_.embed_tokens.operand(), token_T, x_TD);
  return x_TD;
}

TensorView Transformer::forward(const Pass& pass, std::span<const int32_t> token_T,
                                BalanceLoss balance, TransformerSaved& saved) const {
  const TensorView residual_TD = embed(pass, token_T);
  saved.layers.clear();
  for (const Block& block : layers_)
    saved.layers.push_back(block.forward(pass, residual_TD, balance));
  const TensorView hidden_TD = pass.alloc_f32(residual_TD.rows(), residual_TD.cols());
  saved.final_norm = norm_forward(pass, weights_.norm, static_cast<float>(config_.rms_norm_eps),
                                  residual_TD, hidden_TD);
  return hidden_TD;
}

TensorView Transformer::forward_mtp(const Pass& pass, int64_t k,
                                    std::span<const int32_t> next_token_T,
                                    ConstTensorView hidden_TD, BalanceLoss balance,
                                    TransformerSaved& saved) const {
  saved.mtp.resize(static_cast<size_t>(k) + 1);
  return mtp_[static_cast<size_t>(k)].forward(pass, embed(pass, next_token_T), hidden_TD, balance,
                                              saved.mtp.back());
}

void Transformer::logits(const Pass& pass, ConstTensorView hidden_TD, TensorView logits_TV) const {
  linear_forward(pass, weights_.lm_head, hidden_TD, logits_TV);
}

void Transformer::backward(const Pass& pass, std::span<const int32_t> token_T,
                           const TransformerSaved& saved, TensorView dhidden_TD) const {
  ArenaScope scope(pass.ctx.arena);
  const TensorView dresidual_TD = pass.alloc_f32(dhidden_TD.rows(), dhidden_TD.cols());
  norm_backward_input(pass, weights_.norm, saved.final_norm, dhidden_TD, dresidual_TD, false);
  norm_backward_weight(pass, weights_.norm, saved.final_norm, dhidden_TD);
  for (size_t l = layers_.size(); l-- > 0;) {
    ArenaScope layer_scope(pass.ctx.arena);
    const BlockGradients g = layers_[l].backward_input(pass, saved.layers[l], dresidual_TD);
    layers_[l].backward_weight(pass, saved.layers[l], g);
  }
  kernels::embedding_backward(pass.ctx, dresidual_TD, token_T, weights_.embed_tokens.grad);
}

void Transformer::backward_mtp(const Pass& pass, int64_t k, std::span<const int32_t> next_token_T,
                               const TransformerSaved& saved, TensorView dhidden_TD,
                               TensorView dprevious_TD) const {
  ArenaScope scope(pass.ctx.arena);
  const auto index = static_cast<size_t>(k);
  const TensorView dembedding_TD = pass.alloc_f32(dhidden_TD.rows(), dhidden_TD.cols());
  kernels::fill(pass.ctx, dembedding_TD, 0);
  const MtpGradients g =
      mtp_[index].backward_input(pass, saved.mtp[index], dhidden_TD, dembedding_TD, dprevious_TD);
  mtp_[index].backward_weight(pass, saved.mtp[index], g);
  kernels::embedding_backward(pass.ctx, dembedding_TD, next_token_T, weights_.embed_tokens.grad);
}

}  // namespace fathom
