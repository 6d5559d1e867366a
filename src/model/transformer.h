#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/weights.h"

namespace fathom {

/// What one forward pass keeps for the backward.
struct TransformerSaved {
  std::vector<BlockSaved> layers;
  NormSaved final_norm;
  std::vector<MtpSaved> mtp;

  /// Calls visit(BlockSaved) for every layer, MTP's after the main model's.
  template <class F>
  void for_each_block(F&& visit) const {
    for (const BlockSaved& b : layers) visit(b);
    for (const MtpSaved& m : mtp) visit(m.block);
  }
};

/// The whole network: embedding, decoder layers, final norm, and MTP modules. The "representation"
/// of a token is F32 [D], what the output head multiplies. Everything a pass computes stays in the
/// pass's arena until the caller rewinds it.
class Transformer {
 public:
  /// Weights are views; their memory must outlive the model. Tables are made for `positions`.
  Transformer(ModelConfig config, const ModelWeights& weights, int64_t positions);
  Transformer(const Transformer&) = delete;
  Transformer& operator=(const Transformer&) = delete;

  const ModelConfig& config() const { return config_; }
  const ModelWeights& weights() const { return weights_; }
  const RopeTable& rope() const { return rope_; }
  const std::vector<Block>& layers() const { return layers_; }
  const std::vector<Mtp>& mtp() const { return mtp_; }

  /// Input embeddings, F32 [T,D].
  TensorView embed(const Pass& pass, std::span<const int32_t> token_T) const;
  /// Representations after the final norm, F32 [T,D].
  TensorView forward(const Pass& pass, std::span<const int32_t> token_T, BalanceLoss balance,
                     TransformerSaved& saved) const;
  /// Representations of MTP depth k+1 from those of depth k (0: forward's). next_token_T[i] is the
  /// token k+1 places after token i.
  TensorView forward_mtp(const Pass& pass, int64_t k, std::span<const int32_t> next_token_T,
                         ConstTensorView hidden_TD, BalanceLoss balance,
                         TransformerSaved& saved) const;
  /// logits_TV (F32) = representation · lm_headᵀ.
  void logits(const Pass& pass, ConstTensorView hidden_TD, TensorView logits_TV) const;

  /// Adds the gradients of all weights, given that of the representations. dhidden_TD is consumed.
  void backward(const Pass& pass, std::span<const int32_t> token_T, const TransformerSaved& saved,
                TensorView dhidden_TD) const;
  /// The same for one MTP module; dprevious_TD (F32) receives (+=) the gradient of hidden_TD.
  void backward_mtp(const Pass& pass, int64_t k, std::span<const int32_t> next_token_T,
                    const TransformerSaved& saved, TensorView dhidden_TD,
                    TensorView dprevious_TD) const;

 private:
  ModelConfig config_;
  ModelWeights weights_;
  RopeTable rope_;
  std::vector<Block> layers_;
  std::vector<Mtp> mtp_;
};

}  // namespace fathom
