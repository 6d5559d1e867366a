#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/adamw.h"
#include "model/weights.h"

namespace fathom::train {

/// Options of AdamW that do not change during a run.
struct OptimizerOptions {
  float beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f;
  float weight_decay = 0.1f;     ///< of matrices; norms and biases are not decayed
  DType moments = DType::kBF16;  ///< or kF32
  float ema_decay = 0;           ///< 0: no moving average of the weights is kept
};

/// AdamW over FP32 master weights, with global-norm clipping and an optional exponential moving
/// average of the weights.
class Optimizer {
 public:
  Optimizer(const ModelConfig& config, ModelWeights& weights, const OptimizerOptions& options);

  void zero_gradients(Context& ctx);
  /// sqrt(Σ g²) over all parameters; NaN or infinity if any gradient is.
  double gradient_norm(Context& ctx) const;
  /// One step with gradients scaled so that their norm is at most clip (0: never clipped).
  void step(Context& ctx, float lr, double gradient_norm, float clip);

  /// weights with every matrix and norm replaced by its moving average; needs ema_decay > 0 and a
  /// step taken. Views into the optimizer.
  ModelWeights averaged(const ModelConfig& config, const ModelWeights& weights) const;

  int64_t steps_taken() const { return steps_; }
  void set_steps_taken(int64_t steps) { steps_ = steps; }

  /// Every tensor of the state under a stable name ("exp_avg.", "exp_avg_sq.", "ema." + parameter),
  /// for saving and restoring.
  void for_each_state(
      const std::function<void(const std::string&, const TensorView&)>& visit) const;

 private:
  struct Slot {
    ParameterInfo info;
    Parameter parameter;
    Tensor exp_avg, exp_avg_sq, ema;
  };

  OptimizerOptions options_;
  std::vector<Slot> slots_;
  int64_t steps_ = 0;
};

}  // namespace fathom::train
