#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/net/expert_routing.h"
#include "cluster/net/flow_builder.h"
#include "cluster/net/network.h"

namespace fathom::net {

enum class JobKind : uint8_t {
  kAllToAll,       ///< every GPU sends bytes / GPUs to every other
  kDispatch,       ///< tokens to their experts
  kCombine,        ///< and back
  kAllGather,      ///< ring over all GPUs; bytes: what each one has at the end
  kReduceScatter,  ///< ring; bytes: what each one has at the start
  kAllReduce,      ///< reduce-scatter, then all-gather
  kPermutation,    ///< every GPU of node i sends bytes to its like on node i + shift
  kStorage,        ///< every client node reads bytes, spread over all server nodes
};

enum class InNetwork : uint8_t { kNone, kMulticast, kReduce };

/// Traffic of a set of nodes that starts together.
struct Job {
  JobKind kind = JobKind::kAllToAll;
  int64_t first_node = 0;
  int64_t nodes = 0;        ///< 0: all from first_node on
  int64_t stride = 1;       ///< every so many-th node
  int64_t group_nodes = 0;  ///< independent groups of so many of the job's nodes; 0: one group
  int64_t bytes = 0;        ///< a GPU (storage: a client node)
  double start_us = 0;
  int64_t shift = 1;  ///< permutation: nodes to the right
  /// permutation: `shift` counts along a random order of the nodes, drawn with this seed; below 0:
  /// along their numbers.
  int64_t shuffle_seed = -1;
  int64_t servers = 1;    ///< storage: the last so many of the nodes serve
  int64_t tokens = 4096;  ///< dispatch, combine: a GPU
  int64_t hidden = 7168;
  Payload payload = Payload::kFp8;  ///< combine: BF16 unless given
  ExpertRouting routing;
  InNetwork in_network = InNetwork::kNone;
};

struct Scenario {
  std::string name;
  /// Entries of the hardware catalogue that `network` was filled from, files that add to it, and
  /// what was taken with its source.
  std::string gpu, nic, switch_name;
  std::vector<std::string> hardware_files, hardware_notes;
  NetworkSpec network;
  bool pxn = true;  ///< nodes forward through NVLink to the NIC that reaches the target GPU's leaf
  RoutingSpec routing;
  std::vector<std::string> failures;
  std::vector<Job> jobs = {Job{}};
  double resolution_us = -1;  ///< of reallocation; 0: exact; below 0: chosen by the size
};

/// One setting from outside: `key` as in the TOML file, "fabric.topology", "job.bytes" (all jobs)
/// or "job.0.bytes"; `value` in TOML syntax or a bare word; sizes may end in KiB, MB and the like.
struct Setting {
  std::string key, value;
  std::string origin;  ///< "--bytes", for messages
};

/// Reads a TOML file (empty path: only defaults), then applies settings in order. Unknown keys,
/// wrong types, values out of range, and keys that have no influence on the result throw an Error
/// with file or flag, key, value and the nearest valid choice.
Scenario load_scenario(const std::filesystem::path& path, std::span<const Setting> settings);
Scenario parse_scenario(std::string_view toml, const std::string& source,
                        std::span<const Setting> settings = {});

/// For a command line: every key with a flag's name ("topology", "bytes") and help.
struct ScenarioKey {
  std::string key, flag, help;
};
std::vector<ScenarioKey> scenario_keys();

std::string_view name_of(JobKind kind);
std::string_view name_of(RoutingPolicy policy);
std::string_view name_of(Payload payload);

}  // namespace fathom::net
