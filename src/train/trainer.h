#pragma once

#include <filesystem>
#include <functional>
#include <optional>

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
  /// peak_flops: of the machine, for MFU. The model's weights must have gradients.
  Trainer(Context& ctx, const TrainConfig& config, const Transformer& model, ModelWeights& weights,
          Optimizer& optimizer, TokenDataset& data, double peak_flops);

  /// One optimizer step. on_batch, when given, sees the token windows before they are used.
  StepMetrics step(const StepPlan& plan, const std::function<void(const Batch&)>& on_batch = {});
  /// Mean next-token loss over the held-out windows, at most eval_tokens of them.
  std::optional<double> evaluate();

 private:
  ObjectiveLosses accumulate(const StepPlan& plan, const Batch& batch, ExpertLoads& loads);
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
};

kernels::GemmPrecision gemm_precision(Precision precision);

}  // namespace fathom::train
