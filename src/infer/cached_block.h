#pragma once

#include "infer/absorbed_attention.h"
#include "infer/rebuilt_attention.h"
#include "model/block.h"

namespace fathom {

/// One decoder layer over the caches of sequences.
class CachedBlock {
 public:
  /// layer: its number within a page.
  CachedBlock(Context& ctx, const ModelConfig& config, const Block& block, int64_t layer);

  /// Writes the tokens of the pass to their caches and takes residual_TD (F32) through the layer.
  /// Returns how many routed experts had tokens.
  int64_t forward(const CachedPass& pass, TensorView residual_TD) const;

 private:
  void attention(const CachedPass& pass, TensorView residual_TD) const;
  void remember(const CachedPass& pass, const MlaProjections& p) const;

  const ModelConfig& config_;
  const Block& block_;
  int64_t layer_;
  AbsorbedAttention absorbed_;
  RebuiltAttention rebuilt_;
};

}  // namespace fathom
