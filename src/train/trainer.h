#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include "model/fp8_weights.h"
#include "train/balance.h"
#include "train/data.h"
#include "train/metrics.h"
#include "train/objective.h"
#include "train/optimizer.h"
#include "train/run_state.h"
#include "train/schedule.h"

namespace fathom::train {

/// Training steps over a model in memory: everything of a run but its files.
class Trainer {
 public:
  /// peak_flops: of the machine, for MFU. The model's weights must have gradients. fp8: the copies
  /// that an FP8 run multiplies with; null otherwise.
  Trainer(Context& ctx, const TrainConfig& config, const Transformer& model, ModelWeights& weights,
          Optimizer& optimizer, TokenDataset& data, double peak_flops, Fp8Weights* fp8 = nullptr);

  /// One optimizer step. on_batch, when given, sees the token windows before they are used. With
  /// statistics the step also gathers what rounding to FP8 does.
  StepMetrics step(const StepPlan& plan, const std::function<void(const Batch&)>& on_batch = {},
                   bool statistics = false);
  /// Mean next-token loss over the held-out windows, at most eval_tokens of them.
  std::optional<double> evaluate();

 private:
  ObjectiveLosses accumulate(const StepPlan& plan, const Batch& batch, const PassOptions& options,
                             ExpertLoads& loads);
  ObjectiveScales scales(const StepPlan& plan, const Batch& batch) const;
  StepMetrics measure(const StepPlan& plan, const ObjectiveLosses& losses, const ExpertLoads& loads,
                      double gradient_norm, double seconds) const;

  Context& ctx_;
  const TrainConfig& config_;
  const Transformer& model_;
  ModelWeights& weights_;
  Optimizer& optimizer_;
  TokenDataset& data_;
  double peak_flops_;
  Fp8Weights* fp8_;
};

/// The options point into config.
PassOptions pass_options(const TrainConfig& config);

}  // namespace fathom::train
