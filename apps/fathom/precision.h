#pragma once

#include <optional>
#include <string>

#include "model/fp8_weights.h"
#include "model/pass.h"

namespace fathom::app {

/// --precision of a subcommand. In fp8 Linears multiply in FP8 by the paper's recipe: weights as
/// the checkpoint holds them, or quantized now; activations with scales as config.json asks.
class ModelPrecision {
 public:
  /// Attaches FP8 copies to the weights, which must not be a Transformer's yet.
  ModelPrecision(Context& ctx, const ModelConfig& config, ModelWeights& weights,
                 const std::string& name);
  ModelPrecision(const ModelPrecision&) = delete;
  ModelPrecision& operator=(const ModelPrecision&) = delete;

  /// Valid as long as this object.
  PassOptions options() const;

 private:
  std::string name_;
  Fp8Recipe recipe_;
  std::optional<Fp8Weights> fp8_;
};

}  // namespace fathom::app
