#include "cluster/net/network.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace fathom::net {
namespace {

bool is_multi_plane(const NetworkSpec& s) {
  return s.topology.kind == TopologyKind::kMultiPlane;
}

void check_at_least_one(const char* name, int64_t value) {
  if (value < 1)
    throw Error(fmt::format("{} = {}: must be at least 1", name, value), "the nearest is 1");
}

void check_rate(const char* name, double value) {
  if (!(value > 0) || !std::isfinite(value))
    throw Error(fmt::format("{} = {}: must be above 0", name, value));
}

/// What the topology must offer ports for.
TopologySpec sized(const NetworkSpec& s) {
  TopologySpec t = s.topology;
  const int64_t wanted = s.nodes * s.node.nics * s.node.nic_ports;
  if (t.kind == TopologyKind::kMultiRail) t.rails = s.node.nics;
  if (t.kind == TopologyKind::kSlimFly || t.kind == TopologyKind::kDragonfly) {
    const SwitchGraph graph = build_switches(t);
    const auto switches = static_cast<int64_t>(graph.switches.size());
    const int64_t ports = graph.switches[0].endpoint_ports, whole = ports / s.node.nics;
    const int64_t fit = whole > 0 ? switches * whole : switches * ports / s.node.nics;
    if (s.nodes > fit)
      throw Error(fmt::format("{} nodes of {} NICs: a {} of {}-port switches has {} ports on each "
                              "of {} switches",
                              s.nodes, s.node.nics, name_of(t.kind), t.radix, ports, switches),
                  fmt::format("at most {} nodes", fit));
    return t;
  }
  t.endpoints = wanted;
  return t;
}

}  // namespace

Network::Network(const NetworkSpec& spec, const std::vector<std::string>& failures) : spec_(spec) {
  check();
  spec_.topology = sized(spec_);
  graph_ = build_switches(spec_.topology);
  if (spec_.storage_plane) add_storage();
  cables_ = graph_.cables;
  attach();
  for (const std::string& f : failures) fail(f);
}

void Network::check() const {
  const NodeSpec& n = spec_.node;
  check_at_least_one("nodes", spec_.nodes);
  check_at_least_one("gpus", n.gpus);
  check_at_least_one("nics", n.nics);
  check_at_least_one("nic_ports", n.nic_ports);
  check_rate("nvlink_gb_s", n.nvlink_gb_s);
  check_rate("pcie_gb_s", n.pcie_gb_s);
  check_rate("nic_gb_s", n.nic_gb_s);
  check_rate("storage_gb_s", spec_.storage_gb_s);
  check_rate("efficiency", spec_.efficiency);
  if (spec_.efficiency > 1)
    throw Error(fmt::format("efficiency = {}: must be in (0, 1]", spec_.efficiency));
  if (n.gpus % n.nics != 0 && n.nics % n.gpus != 0)
    throw Error(
        fmt::format("{} GPUs and {} NICs a node: neither divides the other", n.gpus, n.nics),
        fmt::format("the nearest is {} NICs", n.gpus));
  const int64_t planes = is_multi_plane(spec_) ? spec_.topology.planes : 1;
  if (n.nic_ports != 1 && n.nic_ports != planes)
    throw Error(fmt::format("nic_ports = {} on {} planes: a NIC has one port, or one in each plane",
                            n.nic_ports, planes),
                fmt::format("nic_ports = 1 or {}", planes));
  if (n.nic_ports == 1 && n.nics % planes != 0)
    throw Error(fmt::format("{} NICs of one port do not divide over {} planes", n.nics, planes),
                fmt::format("{} NICs, or nic_ports = {}", planes, planes));
}

void Network::add_storage() {
  const bool two = spec_.nodes <= spec_.topology.radix * spec_.topology.radix / 2;
  const SwitchGraph tree =
      build_switches({.kind = two ? TopologyKind::kFatTree2 : TopologyKind::kFatTree3,
                      .radix = spec_.topology.radix,
                      .endpoints = spec_.nodes});
  const int base = static_cast<int>(graph_.switches.size());
  for (Switch s : tree.switches) {
    s.plane = kStoragePlane;
    graph_.switches.push_back(s);
  }
  for (const Cable& c : tree.cables) graph_.cables.push_back({base + c.a, base + c.b, c.parallel});
  graph_.leaves.emplace_back();
  for (const int leaf : tree.leaves[0]) graph_.leaves.back().push_back(base + leaf);
}

int Network::leaf_of(size_t plane, int64_t slot) const {
  const std::vector<int>& leaves = graph_.leaves[plane];
  const int64_t ports = graph_.switches[static_cast<size_t>(leaves[0])].endpoint_ports;
  return leaves[static_cast<size_t>(slot / ports)];
}

void Network::attach() {
  const NodeSpec& n = spec_.node;
  attachments_.assign(static_cast<size_t>(spec_.nodes * nics() * n.nic_ports), -1);
  const int64_t planes = is_multi_plane(spec_) ? spec_.topology.planes : 1;
  const int64_t half = spec_.topology.radix / 2;
  for (int64_t node = 0; node < spec_.nodes; ++node) {
    for (int64_t nic = 0; nic < n.nics; ++nic)
      for (int64_t port = 0; port < n.nic_ports; ++port) {
        const bool many = n.nic_ports > 1;
        const auto plane = static_cast<size_t>(many ? port : nic % planes);
        int64_t slot = many ? node * n.nics + nic : node * (n.nics / planes) + nic / planes;
        const bool routers = graph_.switches[0].layer == Switch::Layer::kRouter;
        const int64_t leaf_ports = graph_.switches[0].endpoint_ports;
        // Whole nodes on a router where they fit, its last ports left free.
        if (const int64_t whole = leaf_ports / n.nics; routers && whole > 0)
          slot = node / whole * leaf_ports + node % whole * n.nics + nic;
        if (spec_.topology.kind == TopologyKind::kMultiRail)
          slot = ((node / half) * n.nics + nic) * half + node % half;
        attachments_[index(node, nic, port)] = leaf_of(plane, slot);
      }
    if (spec_.storage_plane)
      attachments_[index(node, n.nics, 0)] = leaf_of(graph_.leaves.size() - 1, node);
  }
}

double Network::port_bytes_per_s(int64_t nic) const {
  const double gb_s = nic < spec_.node.nics
                          ? spec_.node.nic_gb_s / static_cast<double>(spec_.node.nic_ports)
                          : spec_.storage_gb_s;
  return gb_s * 1e9 * spec_.efficiency;
}

bool Network::is_storage(int switch_id) const {
  return graph_.switches[static_cast<size_t>(switch_id)].plane == kStoragePlane;
}

double Network::cable_bytes_per_s(int switch_id) const {
  return port_bytes_per_s(is_storage(switch_id) ? spec_.node.nics : 0);
}

}  // namespace fathom::net
