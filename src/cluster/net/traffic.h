#pragma once

#include <string>
#include <vector>

#include "cluster/net/flow_builder.h"
#include "cluster/net/scenario.h"

namespace fathom::net {

/// A job's nodes, checked and divided into its independent groups.
struct JobNodes {
  std::vector<std::vector<int64_t>> groups;
  int64_t nodes() const;
};
/// Throws Error for nodes that do not exist and groups that do not divide.
JobNodes nodes_of(const Scenario& scenario, const Job& job);

/// By node: what distinguishes it in the traffic of all jobs (see FlowBuilder).
std::vector<std::string> roles_of(const Scenario& scenario);

/// Sends a job's messages through the builder.
void add_job(const Scenario& scenario, size_t job, FlowBuilder& builder);

/// What one GPU of the job is asked to send in all (its own part included, as NCCL counts), and
/// the share of it that leaves the GPU: NCCL's bus bandwidth is their product over the time.
struct JobVolume {
  double bytes_per_gpu = 0;
  double bus_factor = 1;
  double cross_node_bytes = 0;  ///< of one node, one way
  std::string formula;          ///< with the numbers put in
};
JobVolume volume_of(const Scenario& scenario, const Job& job);

}  // namespace fathom::net
