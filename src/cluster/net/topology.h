#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fathom::net {

enum class TopologyKind : uint8_t {
  kFatTree2,    ///< leaves and spines, non-blocking
  kFatTree3,    ///< pods of leaves and aggregation switches, joined by cores; non-blocking
  kMultiPlane,  ///< independent two-layer fat trees; NIC i of every node is on plane i
  kMultiRail,   ///< one fat tree; NIC i of the nodes of a block shares a leaf
  kSlimFly,     ///< McKay-Miller-Siran graph of diameter 2
  kDragonfly,   ///< fully meshed groups, joined all to all
};

/// What to build, before it is checked. Sizes of 0 mean: as large as the radix allows.
struct TopologySpec {
  TopologyKind kind = TopologyKind::kFatTree2;
  int64_t radix = 64;     ///< ports of a switch
  int64_t planes = 1;     ///< multi-plane only
  int64_t rails = 1;      ///< multi-rail only: NICs of a node, each on its own leaf
  int64_t endpoints = 0;  ///< ports to attach NICs to; fat trees shrink to what these need
  int64_t groups = 0;     ///< dragonfly only: at most a*h + 1
};

/// What a network consists of and how far it reaches.
struct TopologySize {
  int64_t endpoints = 0;
  int64_t switches = 0;
  int64_t links = 0;     ///< cables between switches; cables to endpoints are one an endpoint
  double bisection = 0;  ///< cables between the halves of the endpoints (one direction each)
  int64_t diameter = 0;  ///< switch-to-switch hops of the farthest endpoints, at most
  std::string formula;   ///< the three counts with the numbers put in
  std::string note;      ///< what a reader must know about these numbers; often empty
};

/// A two-layer fat tree's shape, also of one plane: `spines` each with `parallel` cables to a leaf.
struct FatTree2Shape {
  int64_t leaves, spines, parallel;
};
/// Pods of radix/2 leaves and radix/2 aggregation switches; aggregation switch i of every pod has
/// `parallel` cables to each of the `cores_per_group` cores of group i.
struct FatTree3Shape {
  int64_t pods, leaves, cores_per_group, parallel;
};
/// q = 4w + delta, 2q^2 switches of 2 q-element sides, `degree` = (3q - delta)/2 cables and
/// ceil(degree/2) endpoints each.
struct SlimFlyShape {
  int64_t q, delta, degree, endpoints_per_switch;
};
/// `groups` of `switches` fully meshed switches, each with `global` cables out of the group and
/// `endpoints_per_switch` endpoints.
struct DragonflyShape {
  int64_t groups, switches, global, endpoints_per_switch;
};

/// Each throws Error where the spec cannot be built, with the values and the nearest valid choice.
FatTree2Shape fat_tree_2_shape(int64_t radix, int64_t endpoints);
FatTree3Shape fat_tree_3_shape(int64_t radix, int64_t endpoints);
/// buildable: only q that are prime powers, for which the graph exists. The counts need no graph,
/// and the published comparison (ISCA Table 3) uses q = 28.
SlimFlyShape slim_fly_shape(int64_t radix, bool buildable);
DragonflyShape dragonfly_shape(int64_t radix, int64_t groups);
/// Whether a multi-rail network of so many endpoints needs a third layer.
bool multi_rail_needs_three_layers(const TopologySpec& spec);

TopologySize size_of(const TopologySpec& spec);

/// "fat-tree-2", "fat-tree-3", "multi-plane", "multi-rail", "slim-fly", "dragonfly".
std::string_view name_of(TopologyKind kind);

}  // namespace fathom::net
