#pragma once

#include "infer/cached_pass.h"
#include "model/mla.h"

namespace fathom {

/// Attention over the latent cache in the form of training (spec A.2): keys and values of all
/// cached tokens are rebuilt from their latents, some heads at a time, so that memory stays
/// bounded. A token's result does not depend on the other tokens of the pass.
class RebuiltAttention {
 public:
  RebuiltAttention(const MlaWeights& weights, const kernels::MlaShape& shape)
      : w_(weights), shape_(shape) {}

  /// residual_TD (F32) += W^O · attention. The layer's cache holds the tokens of p already.
  void forward(const CachedPass& pass, int64_t layer, const MlaProjections& p,
               TensorView residual_TD) const;

 private:
  void attend(const CachedPass& pass, const Segment& segment, int64_t layer, ConstTensorView q_TX,
              TensorView out_TX) const;

  const MlaWeights& w_;
  kernels::MlaShape shape_;
};

}  // namespace fathom
