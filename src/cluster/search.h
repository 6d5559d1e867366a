#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cluster/train.h"

namespace fathom::cluster {

struct SearchOptions {
  std::vector<int64_t> gpus = {2048};  ///< cluster sizes to try
  int64_t batch = 15360, micro_batch = 1, seq_len = 4096;
  int64_t max_tp = 8;
  std::vector<dist::ScheduleKind> schedules{std::begin(dist::kScheduleKinds),
                                            std::end(dist::kScheduleKinds)};
  double expert_imbalance = kTrainingImbalance;  ///< of layouts that spread experts
  double tokens = 14.8e12;
  MemoryRecipe recipe;
  double reserved_share = 0.05;
  int threads = 1;  ///< 0: all usable processors; the result does not depend on it
  /// Called with the layouts done and all of them, from the calling thread.
  std::function<void(int64_t done, int64_t all)> progress;
};

struct Candidate {
  Layout layout;
  TrainPlan plan;
  bool pareto = false;  ///< no other is as good in days, cost and memory and better in one
};

struct SearchResult {
  std::vector<Candidate> candidates;       ///< fastest first, equal ones by name
  int64_t illegal = 0, out_of_memory = 0;  ///< layouts passed over
};

/// Tries every legal layout: PP of the divisors of the GPUs, EP of those of the experts, TP of the
/// powers of two up to max_tp. Writes the Pareto table of days, cost and memory. Throws Error when
/// nothing is possible, naming what came nearest.
SearchResult search_layouts(const ModelShape& shape, const Entry& gpu, const SearchOptions& options,
                            Worksheet& sheet);

}  // namespace fathom::cluster
