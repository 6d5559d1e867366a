#pragma once

#include <string_view>
#include <vector>

namespace fathom::dist {

/// Load of every expert, [layer][expert], in any unit: tokens routed to it, or a moving average.
using LayerLoads = std::vector<std::vector<double>>;

/// The machine that experts are placed on. Every layer gets `replicas` physical experts, the same
/// number on each GPU.
struct PlacementShape {
  int replicas = 0;
  int gpus = 1;
  int nodes = 1;
  int groups = 1;  ///< of the router: consecutive experts, of which a token picks a few
};

struct LayerPlacement {
  std::vector<int> phy2log;  ///< [replicas] expert in each physical slot, GPU by GPU
  std::vector<std::vector<int>>
      log2phy;              ///< [experts][most copies] its slots by copy, padded with -1
  std::vector<int> logcnt;  ///< [experts] copies
};

struct ExpertPlacement {
  /// A router's group stays within a node, so that a token crosses to as few nodes as it picks
  /// groups from; otherwise experts are balanced over all GPUs.
  bool hierarchical = false;
  std::vector<LayerPlacement> layers;
};

/// The balancing of EPLB (spec G.3): hierarchical when the nodes divide the groups (groups are
/// packed into nodes, experts replicated within their node, replicas packed onto its GPUs), global
/// otherwise. Greedy and deterministic. Throws Error with the nearest valid choice unless
///   loads are 0 or more, of at least one layer, with the same experts in each;
///   nodes divide GPUs, GPUs divide replicas, groups divide experts;
///   replicas are at least the experts.
ExpertPlacement place_experts(const LayerLoads& loads, const PlacementShape& shape);

/// Load of each GPU when every copy of an expert takes an equal share.
std::vector<double> gpu_loads(const std::vector<double>& loads_E, const LayerPlacement& placement,
                              int gpus);
/// Load of each GPU when experts lie in their order, one copy each: expert e of E on GPU e·gpus/E.
std::vector<double> gpu_loads_in_order(const std::vector<double>& loads_E, int gpus);
/// Sums of consecutive entries: loads of GPUs to loads of nodes.
std::vector<double> node_loads(const std::vector<double>& gpu_loads, int nodes);

/// Largest over mean, 1 when perfect: how much longer a step takes than it must. 1 without load.
double imbalance(const std::vector<double>& loads);

}  // namespace fathom::dist
