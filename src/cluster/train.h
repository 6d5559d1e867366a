#pragma once

#include <optional>

#include "cluster/catalogue.h"
#include "cluster/memory.h"
#include "cluster/operator_times.h"

namespace fathom::cluster {

/// Assumed: chosen so that what follows from one layer's profile, which had balanced experts,
/// matches ISCA Table 4. From 1.07 on tokens a day are within 3% of it, up to 1.14 the first GPU's
/// forwards within 5%. The loads of that run are not published.
inline constexpr double kTrainingImbalance = 1.1;

struct TrainOptions {
  Layout layout;
  /// Totals of a step to take the layers' times from, instead of the hardware's profile.
  std::optional<PhaseTimes> phases;
  /// Load of the GPU whose experts are busiest, over the mean; 1 or more. Without influence where
  /// phases are given, without experts, and for EP 1.
  double expert_imbalance = kTrainingImbalance;
  double tokens = 14.8e12;     ///< to train on
  double other_gpu_hours = 0;  ///< of other stages, added to the cost
  MemoryRecipe recipe;
  double reserved_share = 0.05;  ///< of memory
};

struct TrainPlan {
  PhaseTimes phases;
  double bubble = 0, optimizer = 0;  ///< s, mean over the GPUs
  /// The same of the pipeline's first GPU, each operation in its own row: a full backward counts
  /// under 1B, 1W is what was put off.
  PhaseTimes first;
  double first_bubble = 0;
  double step = 0;                   ///< s
  double exposed_communication = 0;  ///< s of the phases, mean: exchanges that nothing hides
  double tokens_per_day = 0;
  double mfu_causal = 0, mfu_non_causal = 0;         ///< against the BF16 peak
  double gpu_hours_per_trillion = 0, gpu_hours = 0;  ///< without other_gpu_hours
  double cost = 0;                                   ///< $, with other_gpu_hours
  double days = 0;
  double memory_gib = 0;  ///< of the fullest GPU
  bool fits = false;
};

/// Simulates one step of the schedule and derives the rest. Throws Error for an illegal layout or
/// an imbalance below 1.
TrainPlan plan_train(const ModelShape& shape, const Entry& gpu, const TrainOptions& options,
                     Worksheet& sheet);

/// Says what was assumed of the experts' load.
void assume_imbalance(double imbalance, Worksheet& sheet);

}  // namespace fathom::cluster
