#pragma once

#include <optional>

#include "model/mla.h"
#include "model/moe.h"

namespace fathom {

/// One pre-norm Transformer layer (spec A.1): x += MLA(norm(x)); x += FFN(norm(x)), the FFN dense
/// or a mixture of experts.
struct BlockWeights {
  Parameter input_layernorm, post_attention_layernorm;
  MlaWeights self_attn;
  MlpWeights mlp;                 ///< dense layers
  std::optional<MoeWeights> moe;  ///< mixture layers
};

/// What a block keeps for its backward. In a recomputing pass the normed inputs lie in memory of
/// the pass, valid until the next norm.
struct BlockSaved {
  NormSaved input_norm, ffn_norm;  ///< hold the residual stream before each half
  TensorView attention_x_TD;       ///< normed input of the attention
  MlaSaved attention;
  TensorView ffn_x_TD;  ///< normed input of the FFN
  MlpSaved mlp;
  MoeSaved moe;
};

struct BlockGradients {
  TensorView dattention_x_TD, dffn_x_TD;  ///< F32, gradients of the normed inputs
  MlaGradients attention;
  ConstTensorView dmlp_TD;  ///< of the dense FFN's output
  MlpGradients mlp;
  MoeGradients moe;
};

/// The four phases in order, forward and backward, so that a schedule can interleave two
/// micro-batches; a dense layer does its FFN in `experts` and nothing in `combine`. The residual
/// stream is one F32 buffer that every phase adds to.
class Block {
 public:
  Block(const ModelConfig& config, const RopeTable& rope, const BlockWeights& weights);

  void attention(const Pass& pass, TensorView residual_TD, BlockSaved& saved) const;
  void dispatch(const Pass& pass, TensorView residual_TD, BalanceLoss balance,
                BlockSaved& saved) const;
  void experts(const Pass& pass, TensorView residual_TD, BlockSaved& saved) const;
  void combine(const Pass& pass, TensorView residual_TD, BlockSaved& saved) const;
  /// All four.
  BlockSaved forward(const Pass& pass, TensorView residual_TD, BalanceLoss balance = {}) const;
  /// The last three: what follows any form of attention.
  void ffn(const Pass& pass, TensorView residual_TD, BalanceLoss balance, BlockSaved& saved) const;

  /// dresidual_TD (F32): the gradient of the block's output on entry, of its input on return.
  void combine_backward(const Pass& pass, const BlockSaved& saved, TensorView dresidual_TD,
                        BlockGradients& g) const;
  void experts_backward_input(const Pass& pass, const BlockSaved& saved, TensorView dresidual_TD,
                              BlockGradients& g) const;
  void dispatch_backward_input(const Pass& pass, const BlockSaved& saved, TensorView dresidual_TD,
                               BlockGradients& g) const;
  void attention_backward_input(const Pass& pass, const BlockSaved& saved, TensorView dresidual_TD,
                                BlockGradients& g) const;
  BlockGradients backward_input(const Pass& pass, const BlockSaved& saved,
                                TensorView dresidual_TD) const;
  void backward_weight(const Pass& pass, const BlockSaved& saved, const BlockGradients& g) const;

  /// Whether the FFN is a mixture of experts.
  bool is_moe() const { return moe_.has_value(); }
  const Mla& mla() const { return mla_; }
  const BlockWeights& weights() const { return w_; }

 private:
  TensorView normed_again(const Pass& pass, const Parameter& w, const NormSaved& saved,
                          TensorView kept_TD) const;
  void ffn_backward_weight(const Pass& pass, const BlockSaved& saved,
                           const BlockGradients& g) const;

  const ModelConfig& config_;
  const BlockWeights& w_;
  Mla mla_;
  std::optional<Moe> moe_;
};

}  // namespace fathom
