#pragma once

#include <map>
#include <string>
#include <unordered_map>

#include "model/fp8_recipe.h"
#include "model/weights.h"

namespace fathom {

/// Gathers what rounding to FP8 does to the operands of every Linear of the passes that it is given
/// to: under the weight's name with the role in place of "weight", the experts of a layer together
/// ("model.layers.3.mlp.experts.gate_proj.input"). Costs several times the rounding itself.
class RoundingObserver {
 public:
  /// weights: those that the passes use.
  RoundingObserver(const ModelConfig& config, const ModelWeights& weights);

  void observe(Context& ctx, const Parameter& w, OperandRole role, const kernels::GemmInput& x,
               const kernels::Rounding& rounding);
  /// By name: the largest magnitude, and shares over all observed values.
  std::map<std::string, kernels::RoundingStatistics> take();

 private:
  struct Sum {
    kernels::RoundingStatistics weighted;  ///< shares times values
    double values = 0;
  };
  std::unordered_map<const Parameter*, std::string> name_;
  std::map<std::string, Sum> sums_;
};

}  // namespace fathom
