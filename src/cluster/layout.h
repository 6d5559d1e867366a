#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cluster/model_shape.h"
#include "cluster/worksheet.h"
#include "dist/schedule.h"

namespace fathom::cluster {

/// How a model is laid over GPUs for training: pipeline x tensor x data parallel, with experts
/// spread over `ep` of the data-parallel GPUs and the optimizer's state over all copies (ZeRO-1).
struct Layout {
  int64_t gpus = 2048;
  int64_t pp = 16;  ///< GPUs of a pipeline; DualPipeV gives each of them two of 2 pp stages
  int64_t ep = 64;
  int64_t tp = 1;  ///< of attention, dense and shared parts
  dist::ScheduleKind schedule = dist::ScheduleKind::kDualPipe;
  int64_t batch = 15360;  ///< sequences a step
  int64_t micro_batch = 1;
  int64_t seq_len = 4096;

  int64_t dp() const { return gpus / (pp * tp); }
  /// GPUs that hold the same experts.
  int64_t expert_copies() const { return gpus / (pp * ep); }
  int64_t micro_batches() const { return batch / (dp() * micro_batch); }
  int64_t stages() const { return schedule == dist::ScheduleKind::kDualPipeV ? 2 * pp : pp; }
  int64_t tokens_per_step() const { return batch * seq_len; }
  double micro_batch_tokens() const { return static_cast<double>(micro_batch * seq_len); }
  std::string name() const;  ///< "PP16 EP64 TP1 DP128 dualpipe"
};

/// What stands in the way of a layout, each with the nearest valid choice; empty when it is legal.
std::vector<std::string> problems_of(const Layout& layout, const ModelShape& shape);
/// Throws Error listing them.
void check(const Layout& layout, const ModelShape& shape);

/// What one stage of the network holds.
struct Stage {
  int64_t dense_layers = 0, moe_layers = 0;  ///< MTP modules' layers included
  int64_t mtp = 0;                           ///< MTP modules
  bool embedding = false;
  int64_t heads = 0;  ///< passes through the output head: its own, and one for each MTP module

  int64_t layers() const { return dense_layers + moe_layers; }
};

/// Layers over stages: ceil(layers / stages) each, the last stage what remains, beside the head
/// and the MTP modules, which cost it about as much. Evenly where that leaves stages empty.
std::vector<Stage> stages_of(const ModelShape& shape, int64_t stages);

/// The stages of each GPU of a pipeline: r, and in the dual schedules also the last but r.
std::vector<std::vector<int64_t>> stages_of_ranks(const Layout& layout);

}  // namespace fathom::cluster
