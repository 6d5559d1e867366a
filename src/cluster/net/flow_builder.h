#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cluster/net/flow_simulator.h"
#include "cluster/net/network.h"
#include "cluster/net/routing_graph.h"

namespace fathom::net {

enum class RoutingPolicy : uint8_t {
  kAdaptive,  ///< packets of a flow are spread over all shortest paths
  kEcmp,      ///< a hash of addresses and ports picks one path for each flow
  kStatic,    ///< the destination's port number picks the path, as InfiniBand's tables do
};

struct RoutingSpec {
  RoutingPolicy policy = RoutingPolicy::kAdaptive;
  int64_t queue_pairs = 1;  ///< ECMP: flows a message is split into, each with its own UDP port
  uint64_t seed = 0;        ///< ECMP: of the switches' hash
};

/// Nodes that traffic and network treat alike: plugged into the same leaves, with the same
/// failures, in the same roles. Exchanging two of them changes nothing, so one entry of the flow
/// table stands for all their flows.
struct NodeGroup {
  std::vector<int64_t> nodes;
  double count() const { return static_cast<double>(nodes.size()); }
};

/// What has a capacity.
struct Resource {
  enum class Kind : uint8_t { kNvlinkOut, kNvlinkIn, kPcieOut, kPcieIn, kNicOut, kNicIn, kCable };
  Kind kind;
  int owner;     ///< the group, or the edge of the routing graph
  int index;     ///< GPU, NIC * ports + port, or 0
  double count;  ///< physical ones that this entry stands for
};

struct GpuShare {
  int64_t gpu;
  double share;
};

/// Messages from every node of one group to every node of another.
struct Transfer {
  int from, to;
  double pairs;  ///< of nodes
  double bytes;  ///< of one message, on the wire
  /// GPUs that hold the bytes, and GPUs that they are for: parts of the message, or more than 1 in
  /// all where the NIC's GPU copies. A GPU without that NIC passes them through NVLink.
  std::vector<GpuShare> sources, targets;
  /// Even the NIC's own GPU copies through its NVLink engines (expert dispatch and combine).
  bool copy_at_source = false, copy_at_target = false;
  std::vector<int64_t> nics;     ///< preferred, at both ends; the message is split among them
  std::vector<int64_t> nics_to;  ///< at the target where it differs; same length, or empty
  double sent_share = 1;         ///< multicast: part of the bytes that its NIC really sends
  double received_share = 1;     ///< reduction: part of the bytes that its NIC really receives
  int job = 0;
  Picoseconds start = 0;
  double repeats = 1;  ///< messages in sequence, each as late as one: steps of a ring
};

/// Turns transfers into flows over resources.
class FlowBuilder {
 public:
  /// roles: by node; nodes with different roles are never grouped. Under ECMP and static routing
  /// every node is a group of its own.
  FlowBuilder(const Network& network, const RoutingSpec& routing, bool forward,
              const std::vector<std::string>& roles);

  const std::vector<NodeGroup>& groups() const { return groups_; }
  int group_of(int64_t node) const { return group_of_[static_cast<size_t>(node)]; }

  void send(const Transfer& transfer);
  /// Transfers that differ only in their GPUs and NICs, all between the same two groups. Where each
  /// node's NICs are all on one leaf, exchanging them changes nothing, so one flow stands for all.
  void send_alike(const std::vector<Transfer>& transfers);
  /// Inside the node, from one GPU over NVLink; copies may add up to more than 1.
  void send_inside(int group, int64_t gpu, const std::vector<GpuShare>& targets, double bytes,
                   int job, Picoseconds start, double repeats = 1);

  const FlowTable& table() const { return table_; }
  const std::vector<FlowDemand>& demands() const { return demands_; }
  const std::vector<Resource>& resources() const { return resources_; }
  const std::vector<int32_t>& job_of_flow() const { return job_of_flow_; }
  const RoutingGraph& graph() const { return graph_; }
  RoutingGraph& graph() { return graph_; }
  std::string name(size_t resource) const;

  /// Bytes that must leave (enter) each vertex of the routing graph, and byte-hops, by job.
  struct Crossing {
    std::vector<double> out, in;
    double hop_bytes = 0;
  };
  const std::vector<Crossing>& crossings() const { return crossings_; }

  /// How many flows all this stands for.
  double flows() const { return flows_; }

  /// NICs that a GPU drives itself, and the GPU that drives a NIC.
  std::vector<int64_t> nics_of(int64_t gpu) const;
  int64_t gpu_of(int64_t nic) const;

 private:
  struct Way;  // one pair of NICs and its part of a message
  void group_nodes(const std::vector<std::string>& roles);
  void add_resources();
  void add_resource(Resource::Kind kind, int owner, int64_t index, double count, double rate);
  int32_t local(int group, Resource::Kind kind, int64_t index) const;
  int attachment(int group, int64_t nic, int64_t port) const;
  std::vector<int64_t> usable_ports(int from, int to, int64_t nic, int64_t nic_to);
  std::vector<Way> ways(const Transfer& t);
  [[noreturn]] void fail_disconnected(const Transfer& t) const;
  bool nics_are_alike(int group) const;
  double use_way(const Transfer& t, const Way& way, const std::vector<int64_t>& ports, int64_t qp,
                 double bytes);
  void use(int32_t resource, double weight);
  void use_side(int group, const std::vector<GpuShare>& gpus, int64_t nic, bool out, bool copy,
                double pairs, double wire_share, bool& forwarded);
  void use_edges(const Transfer& t, const Way& way, int64_t port, int64_t qp, double share,
                 double bytes, int& hops);
  std::vector<EdgeShare> path(const Transfer& t, const Way& way, int64_t port, int64_t qp, int from,
                              int to);
  void finish_flow(double bytes, double share, double latency_us, double repeats, Picoseconds start,
                   int job, double count);
  Crossing& crossing(int job);

  const Network& network_;
  RoutingSpec routing_;
  bool forward_;
  RoutingGraph graph_;
  std::vector<NodeGroup> groups_;
  std::vector<int> group_of_;
  std::vector<Resource> resources_;
  FlowTable table_;
  std::vector<FlowDemand> demands_;
  std::vector<int32_t> job_of_flow_;
  std::vector<Crossing> crossings_;
  std::vector<Use> uses_;  // of the flow being built
  double flows_ = 0;
};

}  // namespace fathom::net
