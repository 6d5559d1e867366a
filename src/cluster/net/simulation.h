#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cluster/net/flow_builder.h"
#include "cluster/net/scenario.h"
#include "cluster/net/traffic.h"

namespace fathom::net {

/// A time that no routing can beat: the bytes that must cross a cut over its capacity, plus the
/// latency of the fastest message over it.
struct LowerBound {
  double seconds = 0;
  std::string cut;      ///< "NIC out of node 0 NIC 3"
  std::string formula;  ///< with the numbers put in
};

struct JobResult {
  std::string kind;
  int64_t gpus = 0;
  Picoseconds start = 0, end = 0;
  JobVolume volume;
  LowerBound bound;
  double seconds() const { return static_cast<double>(end - start) / kPicosecondsPerSecond; }
  /// GB/s: bytes a GPU over the time ("algorithm bandwidth"), and times the bus factor.
  double algorithm_gb_s() const { return volume.bytes_per_gpu / seconds() / 1e9; }
  double bus_gb_s() const { return algorithm_gb_s() * volume.bus_factor; }
};

/// Load of one resource: carried bytes over what it could have carried until the last job ended.
struct LinkLoad {
  std::string name;
  Resource resource;
  double bytes = 0, capacity = 0, load = 0;
};

struct SimulationResult {
  std::vector<JobResult> jobs;
  Picoseconds end = 0;
  std::vector<LinkLoad> loads;         ///< all resources that carry anything
  std::array<double, 10> histogram{};  ///< cables between switches by load, tenths; physical
  double flows = 0;                    ///< physical flows
  int64_t entries = 0, steps = 0;      ///< flow table entries, rate computations
  double resolution_us = 0;
  int64_t switches = 0, cables = 0;  ///< cables: between switches, after failures
  std::vector<std::string> assumptions;
};

/// progress: called with the share done. Throws Error for bad scenarios.
SimulationResult simulate(const Scenario& scenario,
                          const std::function<void(double)>& progress = {});

}  // namespace fathom::net
