#include "cluster/net/scenario_keys.h"

#include <fmt/format.h>

#include <algorithm>

namespace fathom::net {
namespace {

template <class E>
Word word(E& value, std::vector<std::string_view> words) {
  return {std::move(words), [&value](size_t i) { value = static_cast<E>(i); }};
}

bool is_experts(const Job& j) {
  return j.kind == JobKind::kDispatch || j.kind == JobKind::kCombine;
}

std::string only_for(bool used, const char* what) {
  return used ? "" : fmt::format("it has influence only with {}", what);
}

bool any_job(const Scenario& s, bool (*is)(const Job&)) {
  return std::any_of(s.jobs.begin(), s.jobs.end(), is);
}

std::string unless_experts(const Scenario&, const Job& j) {
  return only_for(is_experts(j), "dispatch and combine");
}
std::string unless_ecmp(const Scenario& s, const Job&) {
  return only_for(s.routing.policy == RoutingPolicy::kEcmp, "routing policy ecmp");
}

std::vector<Key> fabric_keys() {
  return {
      {"name", "name", "Name of the scenario", [](Scenario& s, Job&) -> Target { return &s.name; }},
      {"fabric.topology", "topology", "Network between the nodes",
       [](Scenario& s, Job&) -> Target {
         return word(s.network.topology.kind, {"fat-tree-2", "fat-tree-3", "multi-plane",
                                               "multi-rail", "slim-fly", "dragonfly"});
       }},
      {"fabric.radix", "radix", "Ports of a switch",
       [](Scenario& s, Job&) -> Target {
         return Integer{&s.network.topology.radix, 2};
       }},
      {"fabric.switch", "switch", "Switch of the hardware catalogue: its radix",
       [](Scenario& s, Job&) -> Target { return &s.switch_name; }},
      {"fabric.planes", "planes", "Planes of a multi-plane network",
       [](Scenario& s, Job&) -> Target {
         return Integer{&s.network.topology.planes, 1};
       },
       [](const Scenario& s, const Job&) {
         return only_for(s.network.topology.kind == TopologyKind::kMultiPlane,
                         "topology multi-plane");
       }},
      {"fabric.groups", "groups", "Groups of a dragonfly",
       [](Scenario& s, Job&) -> Target {
         return Integer{&s.network.topology.groups, 2};
       },
       [](const Scenario& s, const Job&) {
         return only_for(s.network.topology.kind == TopologyKind::kDragonfly, "topology dragonfly");
       }},
      {"fabric.efficiency", "efficiency", "Payload share of every network link's rate",
       [](Scenario& s, Job&) -> Target {
         return Number{&s.network.efficiency, 0, true};
       }},
      {"fabric.storage_plane", "storage-plane", "A NIC a node and a fat tree for storage alone",
       [](Scenario& s, Job&) -> Target { return &s.network.storage_plane; },
       [](const Scenario& s, const Job&) {
         return only_for(any_job(s, [](const Job& j) { return j.kind == JobKind::kStorage; }),
                         "a storage job");
       }},
      {"hardware", "hardware", "Files that add to the hardware catalogue",
       [](Scenario& s, Job&) -> Target { return &s.hardware_files; },
       [](const Scenario& s, const Job&) {
         return only_for(!s.gpu.empty() || !s.nic.empty() || !s.switch_name.empty(),
                         "node.gpu, node.nic or fabric.switch");
       }},
      {"failures", "fail",
       "What is down: plane:P, switch:NAME, link:NAME-NAME, nic:NODE.NIC, port:NODE.NIC.PORT",
       [](Scenario& s, Job&) -> Target { return &s.failures; }},
      {"resolution_us", "resolution-us", "Least time between two computations of the rates",
       [](Scenario& s, Job&) -> Target { return Number{&s.resolution_us}; }},
  };
}

std::vector<Key> node_keys() {
  return {
      {"cluster.nodes", "nodes", "Nodes",
       [](Scenario& s, Job&) -> Target {
         return Integer{&s.network.nodes, 1};
       }},
      {"node.gpu", "gpu", "GPU of the hardware catalogue: its node, NVLink, PCIe and NICs",
       [](Scenario& s, Job&) -> Target { return &s.gpu; }},
      {"node.nic", "nic", "NIC of the hardware catalogue: its rate and ports",
       [](Scenario& s, Job&) -> Target { return &s.nic; }},
      {"node.gpus", "gpus", "GPUs of a node",
       [](Scenario& s, Job&) -> Target {
         return Integer{&s.network.node.gpus, 1};
       }},
      {"node.nics", "nics", "NICs of a node",
       [](Scenario& s, Job&) -> Target {
         return Integer{&s.network.node.nics, 1};
       }},
      {"node.nic_ports", "nic-ports", "Ports of a NIC: 1, or one in each plane",
       [](Scenario& s, Job&) -> Target {
         return Integer{&s.network.node.nic_ports, 1};
       }},
      {"node.nvlink_gb_s", "nvlink-gb-s", "NVLink of a GPU, GB/s each way",
       [](Scenario& s, Job&) -> Target {
         return Number{&s.network.node.nvlink_gb_s, 0, true};
       }},
      {"node.pcie_gb_s", "pcie-gb-s", "PCIe between GPU and NIC, GB/s each way",
       [](Scenario& s, Job&) -> Target {
         return Number{&s.network.node.pcie_gb_s, 0, true};
       }},
      {"node.nic_gb_s", "nic-gb-s", "Rate of a NIC, GB/s each way",
       [](Scenario& s, Job&) -> Target {
         return Number{&s.network.node.nic_gb_s, 0, true};
       }},
      {"node.storage_gb_s", "storage-gb-s", "Rate of the storage NIC, GB/s each way",
       [](Scenario& s, Job&) -> Target {
         return Number{&s.network.storage_gb_s, 0, true};
       },
       [](const Scenario& s, const Job&) {
         return only_for(s.network.storage_plane, "storage_plane = true");
       }},
      {"node.pxn", "pxn", "Forward through NVLink to the NIC on the target's rail",
       [](Scenario& s, Job&) -> Target { return &s.pxn; },
       [](const Scenario& s, const Job&) {
         const auto is = [](const Job& j) { return j.kind == JobKind::kAllToAll; };
         return only_for(any_job(s, is) || !s.failures.empty(), "all-to-all, or failures");
       }},
      {"latency.message_us", "message-us", "Latency of a message, without switches",
       [](Scenario& s, Job&) -> Target { return Number{&s.network.latency.message_us}; }},
      {"latency.hop_us", "hop-us", "Latency of a switch",
       [](Scenario& s, Job&) -> Target { return Number{&s.network.latency.hop_us}; }},
      {"latency.nvlink_us", "nvlink-us", "Latency of a forwarding inside a node",
       [](Scenario& s, Job&) -> Target { return Number{&s.network.latency.nvlink_us}; }},
      {"routing.policy", "routing", "How flows find their path",
       [](Scenario& s, Job&) -> Target {
         return word(s.routing.policy, {"adaptive", "ecmp", "static"});
       }},
      {"routing.queue_pairs", "queue-pairs", "Hashed flows a message is split into",
       [](Scenario& s, Job&) -> Target {
         return Integer{&s.routing.queue_pairs, 1};
       },
       unless_ecmp},
      {"routing.seed", "hash-seed", "Seed of the switches' hash",
       [](Scenario& s, Job&) -> Target { return &s.routing.seed; }, unless_ecmp},
  };
}

std::vector<Key> job_keys() {
  return {
      {"job.kind", "collective", "Traffic",
       [](Scenario&, Job& j) -> Target {
         return word(j.kind, {"all-to-all", "dispatch", "combine", "all-gather", "reduce-scatter",
                              "all-reduce", "permutation", "storage"});
       }},
      {"job.bytes", "bytes", "Bytes a GPU (storage: a client), as 1GiB",
       [](Scenario&, Job& j) -> Target { return Bytes{&j.bytes}; },
       [](const Scenario&, const Job& j) {
         return only_for(!is_experts(j),
                         "other traffic than dispatch and combine, whose bytes "
                         "follow from tokens, hidden and payload");
       }},
      {"job.first_node", "first-node", "First node of the job",
       [](Scenario&, Job& j) -> Target { return Integer{&j.first_node}; }},
      {"job.nodes", "job-nodes", "Nodes of the job (default: all from the first on)",
       [](Scenario&, Job& j) -> Target {
         return Integer{&j.nodes, 1};
       }},
      {"job.stride", "stride", "Take every so many-th node",
       [](Scenario&, Job& j) -> Target {
         return Integer{&j.stride, 1};
       }},
      {"job.group_nodes", "group-nodes", "Independent groups of so many nodes",
       [](Scenario&, Job& j) -> Target {
         return Integer{&j.group_nodes, 1};
       }},
      {"job.start_us", "start-us", "When the job starts",
       [](Scenario&, Job& j) -> Target { return Number{&j.start_us}; }},
      {"job.shift", "shift", "Permutation: nodes to the right",
       [](Scenario&, Job& j) -> Target {
         return Integer{&j.shift, 1};
       },
       [](const Scenario&, const Job& j) {
         return only_for(j.kind == JobKind::kPermutation, "permutation");
       }},
      {"job.shuffle_seed", "shuffle-seed", "Permutation: count along a random order of the nodes",
       [](Scenario&, Job& j) -> Target { return Integer{&j.shuffle_seed}; },
       [](const Scenario&, const Job& j) {
         return only_for(j.kind == JobKind::kPermutation, "permutation");
       }},
      {"job.servers", "servers", "Storage: how many of the last nodes serve",
       [](Scenario&, Job& j) -> Target {
         return Integer{&j.servers, 1};
       },
       [](const Scenario&, const Job& j) {
         return only_for(j.kind == JobKind::kStorage, "storage");
       }},
      {"job.tokens", "tokens", "Tokens a GPU",
       [](Scenario&, Job& j) -> Target {
         return Integer{&j.tokens, 1};
       },
       unless_experts},
      {"job.hidden", "hidden", "Values of a token's vector",
       [](Scenario&, Job& j) -> Target {
         return Integer{&j.hidden, 1};
       },
       unless_experts},
      {"job.payload", "payload", "Format of the vectors (combine: bf16 unless given)",
       [](Scenario&, Job& j) -> Target {
         return word(j.payload, {"fp8", "bf16", "logfmt10"});
       },
       unless_experts},
      {"job.experts", "experts", "Routed experts",
       [](Scenario&, Job& j) -> Target {
         return Integer{&j.routing.experts, 1};
       },
       unless_experts},
      {"job.top_k", "top-k", "Experts a token",
       [](Scenario&, Job& j) -> Target {
         return Integer{&j.routing.top_k, 1};
       },
       unless_experts},
      {"job.node_limit", "node-limit", "Nodes a token may reach; 0: all",
       [](Scenario&, Job& j) -> Target { return Integer{&j.routing.node_limit}; },
       [](const Scenario&, const Job& j) {
         return only_for(is_experts(j) && j.routing.deduplicate,
                         "dispatch and combine with deduplicate = true");
       }},
      {"job.spread", "spread", "even: exactly node_limit nodes a token; uniform: by chance",
       [](Scenario&, Job& j) -> Target {
         return word(j.routing.even, {"uniform", "even"});
       },
       [](const Scenario&, const Job& j) {
         return only_for(is_experts(j) && j.routing.deduplicate,
                         "dispatch and combine with deduplicate = true");
       }},
      {"job.deduplicate", "deduplicate", "Send a token once to a node, not once an expert",
       [](Scenario&, Job& j) -> Target { return &j.routing.deduplicate; }, unless_experts},
      {"job.in_network", "in-network", "What switches do: none, multicast, reduce",
       [](Scenario&, Job& j) -> Target {
         return word(j.in_network, {"none", "multicast", "reduce"});
       },
       [](const Scenario&, const Job& j) {
         const bool multicast = j.kind == JobKind::kDispatch;
         const bool reduce = j.kind == JobKind::kCombine || j.kind == JobKind::kAllReduce;
         if (j.in_network == InNetwork::kNone) return only_for(multicast || reduce, "dispatch");
         return j.in_network == InNetwork::kMulticast ? only_for(multicast, "dispatch")
                                                      : only_for(reduce, "combine and all-reduce");
       }},
  };
}

}  // namespace

const std::vector<Key>& all_keys() {
  static const std::vector<Key> keys = [] {
    std::vector<Key> all = fabric_keys();
    for (auto part : {node_keys(), job_keys()}) all.insert(all.end(), part.begin(), part.end());
    return all;
  }();
  return keys;
}

}  // namespace fathom::net
