#pragma once

#include <vector>

#include "base/context.h"
#include "model/fp8_recipe.h"
#include "model/weights.h"

namespace fathom {

/// The E4M3 copies of the weights that the recipe covers (spec C), which an FP8 pass multiplies
/// with: one byte a parameter and a scale for each 128x128 block. Attached to the parameters of
/// `weights` as Parameter::quantized; weights that a checkpoint holds quantized stay as they are.
class Fp8Weights {
 public:
  /// Throws Error when a module named in the recipe has no Linear or parts Linears that are
  /// multiplied together, a width does not suit, or the weights are stored in another format.
  Fp8Weights(const ModelConfig& config, ModelWeights& weights, const Fp8Recipe& recipe);

  /// Quantizes the weights anew: after each step of the optimizer.
  void refresh(Context& ctx);
  size_t bytes() const;

 private:
  struct Copy {
    TensorView weight;
    Tensor codes, scale;
  };

  Fp8Recipe recipe_;
  std::vector<Copy> copies_;
};

}  // namespace fathom
