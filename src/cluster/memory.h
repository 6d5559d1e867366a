#pragma once

#include <vector>

#include "cluster/catalogue.h"
#include "cluster/layout.h"

namespace fathom::cluster {

/// What training keeps in memory (spec C). FP8: weights and cached inputs of Linears in 8 bits,
/// the input of o_proj in E5M6, master weights FP32, gradients FP32, Adam's moments BF16.
struct MemoryRecipe {
  bool fp8 = true;        ///< else BF16 weights and activations
  bool recompute = true;  ///< RMSNorm, MLA up-projections and SwiGLU again in the backward
};

/// Bytes of one GPU.
struct RankMemory {
  double weights = 0, gradients = 0, optimizer = 0, activations = 0;
  double dense_parameters = 0, expert_parameters = 0;  ///< held by the GPU
  double peak_chunks = 0;                              ///< micro-batches kept at once
  double total() const { return weights + gradients + optimizer + activations; }
};

/// Bytes that one token leaves behind in one layer for its backward.
double activation_bytes(const ModelShape& shape, bool moe_layer, const MemoryRecipe& recipe);

/// Of every GPU of a pipeline. Peak activations come from the schedule itself.
std::vector<RankMemory> rank_memory(const ModelShape& shape, const Layout& layout,
                                    const MemoryRecipe& recipe);

struct MemoryPlan {
  RankMemory largest;
  bool fits = false;
};

/// Writes a table with a row a GPU of the pipeline; whether the largest fits into memory_gib less
/// `reserved_share`.
MemoryPlan plan_memory(const ModelShape& shape, const Layout& layout, const MemoryRecipe& recipe,
                       const Entry& gpu, double reserved_share, Worksheet& sheet);

}  // namespace fathom::cluster
