#include "dist/expert_placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace fathom::dist {
namespace {

constexpr int kMostReplicas = 65536;

size_t at(int i) {
  return static_cast<size_t>(i);
}

int size_of(const std::vector<double>& v) {
  return static_cast<int>(v.size());
}

int round_up(int n, int multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// The divisor of n that is nearest to k.
int nearest_divisor(int n, int k) {
  for (int distance = 0;; ++distance)
    for (int candidate : {k - distance, k + distance})
      if (candidate >= 1 && candidate <= n && n % candidate == 0) return candidate;
}

void check_loads(const LayerLoads& loads) {
  if (loads.empty() || loads.front().empty())
    throw Error("there are no expert loads", "give at least one layer and one expert");
  for (size_t layer = 0; layer < loads.size(); ++layer) {
    if (loads[layer].size() != loads.front().size())
      throw Error(fmt::format("layer {} has loads of {} experts, layer 0 of {}", layer,
                              loads[layer].size(), loads.front().size()),
                  "every layer must have the same experts");
    for (size_t e = 0; e < loads[layer].size(); ++e)
      if (!std::isfinite(loads[layer][e]) || loads[layer][e] < 0)
        throw Error(
            fmt::format("the load of expert {} in layer {} is {}", e, layer, loads[layer][e]),
            "loads are 0 or more");
  }
}

void check_positive(const char* what, int value) {
  if (value < 1 || value > kMostReplicas)
    throw Error(fmt::format("{} {} are not between 1 and {}", value, what, kMostReplicas),
                fmt::format("the nearest valid choice: {}", std::clamp(value, 1, kMostReplicas)));
}

void check_divides(const char* what, int divisor, const char* whole, int n) {
  if (n % divisor != 0)
    throw Error(fmt::format("{} {} do not divide {} {}", divisor, what, n, whole),
                fmt::format("the nearest valid choice: {} {}", nearest_divisor(n, divisor), what));
}

void check_shape(const PlacementShape& s, int experts) {
  check_positive("replicas", s.replicas);
  check_positive("GPUs", s.gpus);
  check_positive("nodes", s.nodes);
  check_positive("groups", s.groups);
  check_divides("nodes", s.nodes, "GPUs", s.gpus);
  check_divides("groups", s.groups, "experts", experts);
  if (s.replicas < experts || s.replicas % s.gpus != 0)
    throw Error(fmt::format("{} experts in {} replicas on {} GPUs: {}", experts, s.replicas, s.gpus,
                            s.replicas < experts ? "not every expert has a place"
                                                 : "not the same number on each GPU"),
                fmt::format("the nearest valid choice: {} replicas",
                            round_up(std::max(s.replicas, experts), s.gpus)));
}

/// Where each item is packed: pack, and order of arrival in it.
struct Packing {
  std::vector<int> pack, rank;
};

int lightest_open_pack(const std::vector<double>& weight, const std::vector<int>& filled,
                       int capacity) {
  int best = -1;
  for (int p = 0; p < size_of(weight); ++p)
    if (filled[at(p)] < capacity && (best < 0 || weight[at(p)] < weight[at(best)])) best = p;
  return best;
}

std::vector<int> heaviest_first(const std::vector<double>& weights) {
  std::vector<int> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return weights[at(a)] > weights[at(b)]; });
  return order;
}

/// Equal numbers of items into `packs` packs, each to the lightest that is not full, heaviest
/// first. Packs of one item take them in order.
Packing pack_balanced(const std::vector<double>& weights, int packs) {
  const int n = size_of(weights), capacity = n / packs;
  Packing result{std::vector<int>(at(n)), std::vector<int>(at(n))};
  if (capacity == 1) {
    std::iota(result.pack.begin(), result.pack.end(), 0);
    return result;
  }
  std::vector<double> weight(at(packs));
  std::vector<int> filled(at(packs));
  for (int item : heaviest_first(weights)) {
    const int pack = lightest_open_pack(weight, filled, capacity);
    result.pack[at(item)] = pack;
    result.rank[at(item)] = filled[at(pack)]++;
    weight[at(pack)] += weights[at(item)];
  }
  return result;
}

/// A physical expert: which expert it is, and which of its copies.
struct Replica {
  int expert, rank;
};
/// Physical experts before they are placed, and the number of copies of each expert.
struct Replicas {
  std::vector<Replica> all;
  std::vector<int> counts;
};

/// One copy each, then one more at a time for the expert whose copies carry most.
Replicas replicate(const std::vector<double>& weights, int replicas) {
  Replicas result;
  result.counts.assign(weights.size(), 1);
  for (int e = 0; e < size_of(weights); ++e) result.all.push_back({e, 0});
  std::vector<double> share = weights;
  for (int slot = size_of(weights); slot < replicas; ++slot) {
    const auto heaviest = std::max_element(share.begin(), share.end());
    const auto e = static_cast<size_t>(heaviest - share.begin());
    result.all.push_back({static_cast<int>(e), result.counts[e]++});
    share[e] = weights[e] / result.counts[e];
  }
  return result;
}

/// Experts in the order of the nodes that their groups are packed into: E/nodes for each.
std::vector<int> experts_by_node(const std::vector<double>& loads, int groups, int nodes) {
  const int size = size_of(loads) / groups, per_node = groups / nodes;
  std::vector<double> group_loads(at(groups));
  for (int e = 0; e < size_of(loads); ++e) group_loads[at(e / size)] += loads[at(e)];
  const Packing packing = pack_balanced(group_loads, nodes);
  std::vector<int> order(loads.size());
  for (int e = 0; e < size_of(loads); ++e) {
    const size_t g = at(e / size);
    const int place = packing.pack[g] * per_node + packing.rank[g];
    order[at(place * size + e % size)] = e;
  }
  return order;
}

/// What each slot of one node holds, [replicas]; experts are positions in `weights`.
std::vector<Replica> place_on_node(const std::vector<double>& weights, int replicas, int gpus) {
  const Replicas copies = replicate(weights, replicas);
  std::vector<double> shares;
  for (const Replica& r : copies.all)
    shares.push_back(weights[at(r.expert)] / copies.counts[at(r.expert)]);
  const Packing packing = pack_balanced(shares, gpus);
  std::vector<Replica> slots(at(replicas));
  for (int i = 0; i < replicas; ++i) {
    const int slot = packing.pack[at(i)] * (replicas / gpus) + packing.rank[at(i)];
    slots[at(slot)] = copies.all[at(i)];
  }
  return slots;
}

std::vector<Replica> place_layer(const std::vector<double>& loads, const PlacementShape& s) {
  const std::vector<int> order = experts_by_node(loads, s.groups, s.nodes);
  const int per_node = size_of(loads) / s.nodes;
  std::vector<Replica> slots;
  for (int node = 0; node < s.nodes; ++node) {
    const int* experts = &order[at(node * per_node)];
    std::vector<double> weights;
    for (int i = 0; i < per_node; ++i) weights.push_back(loads[at(experts[i])]);
    for (const Replica& r : place_on_node(weights, s.replicas / s.nodes, s.gpus / s.nodes))
      slots.push_back({experts[r.expert], r.rank});
  }
  return slots;
}

LayerPlacement maps_of(const std::vector<Replica>& slots, size_t experts) {
  LayerPlacement layer{{}, std::vector<std::vector<int>>(experts), std::vector<int>(experts)};
  for (const Replica& r : slots) {
    layer.phy2log.push_back(r.expert);
    ++layer.logcnt[at(r.expert)];
  }
  for (size_t e = 0; e < experts; ++e) layer.log2phy[e].resize(at(layer.logcnt[e]));
  for (size_t slot = 0; slot < slots.size(); ++slot)
    layer.log2phy[at(slots[slot].expert)][at(slots[slot].rank)] = static_cast<int>(slot);
  return layer;
}

void pad(std::vector<LayerPlacement>& layers) {
  size_t most = 0;
  for (const LayerPlacement& layer : layers)
    for (const auto& slots : layer.log2phy) most = std::max(most, slots.size());
  for (LayerPlacement& layer : layers)
    for (auto& slots : layer.log2phy) slots.resize(most, -1);
}

}  // namespace

ExpertPlacement place_experts(const LayerLoads& loads, const PlacementShape& shape) {
  check_loads(loads);
  check_shape(shape, size_of(loads.front()));
  ExpertPlacement placement;
  placement.hierarchical = shape.groups % shape.nodes == 0;
  PlacementShape used = shape;
  if (!placement.hierarchical) used.groups = used.nodes = 1;
  for (const std::vector<double>& layer : loads)
    placement.layers.push_back(maps_of(place_layer(layer, used), layer.size()));
  pad(placement.layers);
  return placement;
}

std::vector<double> gpu_loads(const std::vector<double>& loads_E, const LayerPlacement& placement,
                              int gpus) {
  std::vector<double> loads(at(gpus));
  const size_t per_gpu = placement.phy2log.size() / at(gpus);
  for (size_t slot = 0; slot < placement.phy2log.size(); ++slot) {
    const size_t e = at(placement.phy2log[slot]);
    loads[slot / per_gpu] += loads_E[e] / placement.logcnt[e];
  }
  return loads;
}

std::vector<double> gpu_loads_in_order(const std::vector<double>& loads_E, int gpus) {
  std::vector<double> loads(at(gpus));
  for (size_t e = 0; e < loads_E.size(); ++e) loads[e * at(gpus) / loads_E.size()] += loads_E[e];
  return loads;
}

std::vector<double> node_loads(const std::vector<double>& gpu_loads, int nodes) {
  std::vector<double> loads(at(nodes));
  for (size_t gpu = 0; gpu < gpu_loads.size(); ++gpu)
    loads[gpu * at(nodes) / gpu_loads.size()] += gpu_loads[gpu];
  return loads;
}

double imbalance(const std::vector<double>& loads) {
  const double sum = std::accumulate(loads.begin(), loads.end(), 0.0);
  if (sum == 0) return 1;
  const double largest = *std::max_element(loads.begin(), loads.end());
  return largest / (sum / static_cast<double>(loads.size()));
}

}  // namespace fathom::dist
