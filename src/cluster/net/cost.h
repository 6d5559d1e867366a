#pragma once

#include <span>
#include <vector>

#include "cluster/net/topology.h"

namespace fathom::net {

/// One price list for every topology, US dollars. Switches are priced by the port and cables by the
/// piece, as in the Slim Fly paper's method (Besta and Hoefler, SC'14).
struct Prices {
  double switch_port_usd = 0;
  double fabric_link_usd = 0;    ///< switch to switch: fibre and two transceivers
  double endpoint_link_usd = 0;  ///< NIC to switch: copper
};

struct Cost {
  double switches_usd = 0, fabric_links_usd = 0, endpoint_links_usd = 0;
  double total() const { return switches_usd + fabric_links_usd + endpoint_links_usd; }
};

/// Throws Error for a negative price.
Cost cost_of(const TopologySize& size, int64_t radix, const Prices& prices);

struct NamedTopology {
  const char* name;
  TopologySpec spec;
};
/// The five columns of ISCA Table 3: 64-port switches throughout, eight planes, 511 groups.
std::span<const NamedTopology> isca_table_3();

}  // namespace fathom::net
