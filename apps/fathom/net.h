#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cluster/net/scenario.h"
#include "cluster/net/topology.h"
#include "options.h"

namespace fathom::app {

/// `net cost` and `net show`.
struct NetTopologyArguments {
  net::TopologySpec spec;
  std::string topology;  ///< empty with cost: all columns of ISCA Table 3
  std::optional<double> switch_port_usd, fabric_link_usd, endpoint_link_usd;  ///< else catalogue's
  std::vector<std::string> hardware;                                          ///< catalogue files
  std::string svg;
  bool explain = false;
};

/// `net simulate`.
struct NetSimulateArguments {
  std::string scenario;                                                 ///< TOML; empty: flags only
  std::vector<std::string> set;                                         ///< key=value
  std::vector<std::pair<std::string, std::vector<std::string>>> flags;  ///< key, values given
  std::vector<std::string> sweep;                                       ///< key=a,b,c
  std::string svg;
  bool explain = false;
};

int run_net_cost(const GlobalOptions&, const NetTopologyArguments&);
int run_net_show(const GlobalOptions&, const NetTopologyArguments&);
int run_net_simulate(const GlobalOptions&, const NetSimulateArguments&);

/// The kind of that name; throws UsageError with the nearest.
net::TopologyKind topology_named(const std::string& name);

}  // namespace fathom::app
