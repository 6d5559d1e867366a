#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "cluster/net/max_min.h"

namespace fathom::net {

/// Times are integer picoseconds.
using Picoseconds = int64_t;
constexpr double kPicosecondsPerSecond = 1e12;

/// What one entry of the flow table has to carry.
struct FlowDemand {
  double bytes = 0;         ///< of one of the flows it stands for
  Picoseconds start = 0;    ///< when its bytes begin to move
  Picoseconds latency = 0;  ///< added to the arrival of its last byte
};

struct FlowOutcome {
  std::vector<Picoseconds> end;        ///< by flow: the last byte has arrived
  std::vector<double> resource_bytes;  ///< carried by each (physical) resource
  int64_t steps = 0;                   ///< how often rates were computed
};

struct StepOptions {
  /// Rates are recomputed when flows end or start, but no more often than this; 0: every time.
  /// A flow that ends within a step ends at its own exact time; its capacity is free from the
  /// step's end on.
  Picoseconds resolution = 0;
  /// Called after each step with the share of all bytes that have moved.
  std::function<void(double)> progress = {};
};

/// Lets the flows run at max-min fair rates, recomputed on starts and completions.
FlowOutcome run_flows(const FlowTable& table, const std::vector<FlowDemand>& demands,
                      const StepOptions& options = {});

}  // namespace fathom::net
