#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cluster/net/switch_graph.h"

namespace fathom::net {

/// One server. GPU g uses NIC g * nics / gpus, or its own nics / gpus NICs where these are more.
struct NodeSpec {
  int64_t gpus = 8;
  int64_t nics = 8;
  int64_t nic_ports = 1;     ///< multi-plane: one in each plane, the NIC's rate divided among them
  double nvlink_gb_s = 160;  ///< each way and GPU; H800: 200 nominal, 160 reached (ISCA 4.3)
  double pcie_gb_s = 55;     ///< each way and GPU; Gen5 x16: 63 on the wire less packet headers
  double nic_gb_s = 50;      ///< each way and NIC: 400 Gb/s
};

/// Added to the arrival of a message. The defaults are the two InfiniBand figures of ISCA Table 5
/// (64 B: 2.8 us over one switch, 3.7 over three) taken apart, and its NVLink figure.
struct Latency {
  double message_us = 2.35;
  double hop_us = 0.45;     ///< each switch on the way
  double nvlink_us = 3.33;  ///< each forwarding inside a node
};

struct NetworkSpec {
  TopologySpec topology;  ///< endpoints and rails are taken from the nodes
  int64_t nodes = 0;
  NodeSpec node;
  double efficiency = 0.8;     ///< of every network link: 40 of 50 GB/s reached (ISCA 4.3)
  bool storage_plane = false;  ///< one more NIC a node, on a fat tree of its own
  double storage_gb_s = 50;
  Latency latency;
};

/// A cluster's switches and where its NICs are plugged in, less what has failed.
class Network {
 public:
  /// failures: "plane:2", "switch:plane0.spine3", "link:plane0.leaf0-plane0.spine3" (one cable),
  /// "nic:17.3" (node 17, NIC 3), "port:17.3.0". Throws Error for what cannot be built, for more
  /// NICs than ports and for unknown names, with the nearest valid choice.
  Network(const NetworkSpec& spec, const std::vector<std::string>& failures);

  const NetworkSpec& spec() const { return spec_; }
  const SwitchGraph& graph() const { return graph_; }
  /// Cables left, some with parallel = 0.
  const std::vector<Cable>& cables() const { return cables_; }

  /// NICs a node: the compute NICs, then the storage NIC.
  int64_t nics() const { return spec_.node.nics + (spec_.storage_plane ? 1 : 0); }
  int64_t ports_of(int64_t nic) const { return nic < spec_.node.nics ? spec_.node.nic_ports : 1; }
  /// The leaf that a port is plugged into, or -1 when port, cable or leaf is down.
  int attachment(int64_t node, int64_t nic, int64_t port) const {
    return attachments_[index(node, nic, port)];
  }
  /// Payload bytes/s of a port of that NIC, each way, and of the switch links behind it.
  double port_bytes_per_s(int64_t nic) const;
  double cable_bytes_per_s(int switch_id) const;

  bool is_storage(int switch_id) const;

 private:
  size_t index(int64_t node, int64_t nic, int64_t port) const {
    const int64_t ports = spec_.node.nic_ports;
    return static_cast<size_t>((node * nics() + nic) * ports + port);
  }
  void check() const;
  void add_storage();
  void attach();
  int leaf_of(size_t plane, int64_t slot) const;
  void fail(const std::string& failure);
  void fail_switch(int s);
  void fail_cable(const std::string& names, const std::string& failure);
  void fail_port(const std::string& place, const std::string& failure, bool whole_nic);
  int switch_named(const std::string& name, const std::string& failure) const;

  NetworkSpec spec_;
  SwitchGraph graph_;
  std::vector<Cable> cables_;
  std::vector<int> attachments_;
};

}  // namespace fathom::net
