#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cluster/net/topology.h"

namespace fathom::net {

/// The plane of the switches that only storage traffic uses.
constexpr int kStoragePlane = -2;

struct Switch {
  enum class Layer : uint8_t { kLeaf, kSpine, kAggregation, kCore, kRouter };
  Layer layer;
  int plane;           ///< -1 where the network is one; or kStoragePlane
  int index;           ///< within its layer (and plane)
  int endpoint_ports;  ///< for NICs; 0 above the first layer
};

/// Full-duplex cables between two switches.
struct Cable {
  int a, b;
  int parallel;
};

/// The switches of a network and the cables between them. Endpoint slot s of a plane is a port of
/// leaf s / endpoint_ports.
struct SwitchGraph {
  std::vector<Switch> switches;
  std::vector<Cable> cables;
  std::vector<std::vector<int>> leaves;  ///< by plane: the switches with endpoint ports, in order

  /// "leaf3", "plane2.spine0", "storage.leaf0", "router17".
  std::string name(int s) const;
};

/// Throws Error where size_of would, and where no such graph exists.
SwitchGraph build_switches(const TopologySpec& spec);

}  // namespace fathom::net
