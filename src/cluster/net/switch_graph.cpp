#include "cluster/net/switch_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "cluster/net/galois_field.h"

namespace fathom::net {
namespace {

using Layer = Switch::Layer;

class Builder {
 public:
  /// Adds `count` switches of a layer; the first one's number.
  int add(Layer layer, int64_t count, int64_t endpoint_ports, int plane = -1) {
    const int first = static_cast<int>(graph.switches.size());
    for (int i = 0; i < count; ++i)
      graph.switches.push_back({layer, plane, i, static_cast<int>(endpoint_ports)});
    if (endpoint_ports > 0) {
      graph.leaves.emplace_back();
      for (int i = 0; i < count; ++i) graph.leaves.back().push_back(first + i);
    }
    return first;
  }
  void connect(int64_t a, int64_t b, int64_t parallel = 1) {
    graph.cables.push_back({static_cast<int>(a), static_cast<int>(b), static_cast<int>(parallel)});
  }

  SwitchGraph graph;
};

void add_fat_tree_2(Builder& b, int64_t radix, int64_t endpoints, int plane) {
  const FatTree2Shape s = fat_tree_2_shape(radix, endpoints);
  const int leaf = b.add(Layer::kLeaf, s.leaves, radix / 2, plane);
  const int spine = b.add(Layer::kSpine, s.spines, 0, plane);
  for (int64_t i = 0; i < s.leaves; ++i)
    for (int64_t j = 0; j < s.spines; ++j) b.connect(leaf + i, spine + j, s.parallel);
}

void add_fat_tree_3(Builder& b, int64_t radix, int64_t endpoints) {
  const FatTree3Shape s = fat_tree_3_shape(radix, endpoints);
  const int64_t half = radix / 2;
  const int leaf = b.add(Layer::kLeaf, s.leaves, half);
  const int aggregation = b.add(Layer::kAggregation, s.leaves, 0);
  const int core = b.add(Layer::kCore, half * s.cores_per_group, 0);
  for (int64_t pod = 0; pod < s.pods; ++pod)
    for (int64_t i = 0; i < half; ++i) {
      const int64_t upper = aggregation + pod * half + i;
      for (int64_t j = 0; j < half; ++j) b.connect(leaf + pod * half + j, upper);
      for (int64_t c = 0; c < s.cores_per_group; ++c)
        b.connect(upper, core + i * s.cores_per_group + c, s.parallel);
    }
}

/// Powers of the primitive element: the differences that join two switches of one column, for the
/// first and for the second side (Hafner's form of the McKay-Miller-Siran graphs).
std::array<std::vector<bool>, 2> slim_fly_generators(const GaloisField& f, int64_t delta) {
  const int q = f.size(), w = static_cast<int>((q - delta) / 4);
  std::array<std::vector<bool>, 2> sets = {std::vector<bool>(q), std::vector<bool>(q)};
  int power = 1;
  for (int e = 0; e < (delta == 1 ? q - 1 : q); ++e, power = f.multiply(power, f.primitive())) {
    // For q = 4w - 1 the parities change sides half way, so that a set holds -x beside x; -1 is
    // then in both sets, and so is 1, met again as the last power.
    const bool late = delta == -1 && e >= 2 * w, odd = e % 2 == 1;
    sets[odd == late ? 0 : 1][static_cast<size_t>(power)] = true;
    if (delta == -1 && e == 2 * w - 1) sets[0][static_cast<size_t>(power)] = true;
  }
  return sets;
}

void add_slim_fly(Builder& b, int64_t radix) {
  const SlimFlyShape s = slim_fly_shape(radix, true);
  const int q = static_cast<int>(s.q);
  const GaloisField f(q);
  const auto generators = slim_fly_generators(f, s.delta);
  b.add(Layer::kRouter, 2 * s.q * s.q, s.endpoints_per_switch);
  const auto at = [q](int side, int x, int y) { return (side * q + x) * q + y; };
  for (int side = 0; side < 2; ++side)
    for (int x = 0; x < q; ++x)
      for (int y = 0; y < q; ++y)
        for (int z = y + 1; z < q; ++z)
          if (generators[static_cast<size_t>(side)][static_cast<size_t>(f.add(z, f.negate(y)))])
            b.connect(at(side, x, y), at(side, x, z));
  for (int x = 0; x < q; ++x)
    for (int m = 0; m < q; ++m)
      for (int c = 0; c < q; ++c) b.connect(at(0, x, f.add(f.multiply(m, x), c)), at(1, m, c));
}

/// Joins every two groups once, then again from the nearest on while global ports are left. An
/// offset d joins each group to the d-th after it: two ports a group, or one half way round.
void add_global_links(Builder& b, const DragonflyShape& s) {
  std::vector<int64_t> used(static_cast<size_t>(s.groups));
  const auto take_port = [&](int64_t group) {
    return group * s.switches + used[static_cast<size_t>(group)]++ / s.global;
  };
  const auto join = [&](int64_t group, int64_t offset) {
    const int64_t here = take_port(group);
    b.connect(here, take_port((group + offset) % s.groups));
  };
  for (int64_t left = s.switches * s.global; left > 0; left -= s.groups - 1) {
    const int64_t ports = std::min(left, s.groups - 1);
    for (int64_t d = 1; d <= ports / 2; ++d)
      for (int64_t g = 0; g < s.groups; ++g) join(g, d);
    if (ports % 2 == 1)
      for (int64_t g = 0; 2 * g < s.groups; ++g) join(g, s.groups / 2);
  }
}

void add_dragonfly(Builder& b, int64_t radix, int64_t groups) {
  const DragonflyShape s = dragonfly_shape(radix, groups);
  b.add(Layer::kRouter, s.groups * s.switches, s.endpoints_per_switch);
  for (int64_t g = 0; g < s.groups; ++g)
    for (int64_t i = 0; i < s.switches; ++i)
      for (int64_t j = i + 1; j < s.switches; ++j)
        b.connect(g * s.switches + i, g * s.switches + j);
  add_global_links(b, s);
}

/// Leaf (block, rail) is number block * rails + rail, so that the rails of a block meet in a pod.
TopologySpec tree_of_rails(const TopologySpec& spec) {
  TopologySpec tree = spec;
  tree.kind =
      multi_rail_needs_three_layers(spec) ? TopologyKind::kFatTree3 : TopologyKind::kFatTree2;
  const int64_t half = spec.radix / 2;
  if (spec.endpoints > 0)
    tree.endpoints = spec.rails * ((spec.endpoints / spec.rails + half - 1) / half) * half;
  return tree;
}

}  // namespace

std::string SwitchGraph::name(int s) const {
  constexpr std::array<const char*, 5> kLayers = {"leaf", "spine", "agg", "core", "router"};
  const Switch& at = switches[static_cast<size_t>(s)];
  const char* layer = kLayers[static_cast<size_t>(at.layer)];
  if (at.plane == kStoragePlane) return fmt::format("storage.{}{}", layer, at.index);
  return at.plane < 0 ? fmt::format("{}{}", layer, at.index)
                      : fmt::format("plane{}.{}{}", at.plane, layer, at.index);
}

SwitchGraph build_switches(const TopologySpec& spec) {
  Builder b;
  switch (spec.kind) {
    case TopologyKind::kFatTree2:
      add_fat_tree_2(b, spec.radix, spec.endpoints, -1);
      break;
    case TopologyKind::kFatTree3:
      add_fat_tree_3(b, spec.radix, spec.endpoints);
      break;
    case TopologyKind::kMultiPlane:
      size_of(spec);  // checks that the endpoints divide
      for (int p = 0; p < spec.planes; ++p)
        add_fat_tree_2(b, spec.radix, spec.endpoints / spec.planes, p);
      break;
    case TopologyKind::kMultiRail:
      return build_switches(tree_of_rails(spec));
    case TopologyKind::kSlimFly:
      add_slim_fly(b, spec.radix);
      break;
    case TopologyKind::kDragonfly:
      add_dragonfly(b, spec.radix, spec.groups);
      break;
  }
  return std::move(b.graph);
}

}  // namespace fathom::net
