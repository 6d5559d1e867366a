#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cluster/memory.h"
#include "cluster/search.h"
#include "cluster/train.h"

namespace fathom::cluster {

/// SVG: one bar a pipeline rank, stacked of weights, gradients, optimizer and activations, with
/// the GPU's memory as a line.
std::string draw_memory(const std::vector<RankMemory>& ranks, double memory_gib,
                        std::string_view title);
/// SVG: one bar of a step's phases.
std::string draw_step(const TrainPlan& plan, std::string_view title);
/// SVG: every feasible layout by days and memory; the Pareto ones stand out.
std::string draw_search(const SearchResult& result, std::string_view title);

}  // namespace fathom::cluster
