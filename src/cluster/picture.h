#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cluster/layer_timeline.h"
#include "cluster/memory.h"
#include "cluster/model_shape.h"
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

/// SVG: bytes that a token adds to the cache, a bar a model.
std::string draw_kv_cache(const std::vector<ModelShape>& shapes, double bits_per_value);
/// SVG: training FLOP a token (causal, every matrix counted) by part, a bar a model.
std::string draw_flops(const std::vector<ModelShape>& shapes, double seq_len);
/// SVG: what the GPU and the network do in one layer of serving, a colour a micro-batch.
std::string draw_layer(const LayerTimeline& layer, std::string_view title);

}  // namespace fathom::cluster
