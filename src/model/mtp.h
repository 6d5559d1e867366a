#pragma once

#include <cstdint>
#include <span>

#include "model/block.h"

namespace fathom {

/// One multi-token prediction module (spec A.6, TR eqs 21-23). Embedding and output head are the
/// main model's.
struct MtpWeights {
  Parameter enorm, hnorm;      ///< [D]
  Parameter eh_proj;           ///< [D, 2D], columns: embedding half, then hidden half
  BlockWeights block;          ///< of the MoE kind when the model has experts
  Parameter shared_head_norm;  ///< [D]
};

struct MtpSaved {
  NormSaved enorm, hnorm;
  TensorView concat_TD2;  ///< [T, 2D]: enorm(embedding), hnorm(hidden); empty if recomputing
  BlockSaved block;
  NormSaved head_norm;
};

struct MtpGradients {
  TensorView dhidden_TD;    ///< F32, gradient of the output representation
  TensorView dblock_in_TD;  ///< F32, gradient of eh_proj's output
  TensorView dconcat_TD2;   ///< F32
  BlockGradients block;
};

/// h'_i = M [enorm(Emb(t_{i+k})) ; hnorm(h^{k-1}_i)], then a decoder layer. The representation
/// h^k handed to the output head and to the next depth is the layer's output after
/// shared_head.norm; h^0 is the main model's after its final norm.
class Mtp {
 public:
  Mtp(const ModelConfig& config, const RopeTable& rope, const MtpWeights& weights)
      : config_(config), w_(weights), block_(config, rope, weights.block) {}

  /// The block's input in the residual stream, F32 [T,D], from next-token embeddings (F32 or BF16)
  /// and the previous depth's representation.
  TensorView merge(const Pass& pass, ConstTensorView embedding_TD, ConstTensorView hidden_TD,
                   MtpSaved& saved) const;
  /// The representation of this depth, F32 [T,D].
  TensorView forward(const Pass& pass, ConstTensorView embedding_TD, ConstTensorView hidden_TD,
                     BalanceLoss balance, MtpSaved& saved) const;
  TensorView head_norm(const Pass& pass, ConstTensorView residual_TD, MtpSaved& saved) const;

  /// From dhidden_TD (gradient of this depth's representation): dembedding_TD and dprevious_TD
  /// (F32, added to: gradients of the two inputs).
  MtpGradients backward_input(const Pass& pass, const MtpSaved& saved, TensorView dhidden_TD,
                              TensorView dembedding_TD, TensorView dprevious_TD) const;
  void backward_weight(const Pass& pass, const MtpSaved& saved, const MtpGradients& g) const;

  const Block& block() const { return block_; }

 private:
  void concatenate(const Pass& pass, const MtpSaved& saved, TensorView concat_TD2) const;
  void eh_backward_weight(const Pass& pass, const MtpSaved& saved, const MtpGradients& g) const;

  const ModelConfig& config_;
  const MtpWeights& w_;
  Block block_;
};

}  // namespace fathom
