#include "cluster/net/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace fathom::net {
namespace {

/// Up to so many flow table entries every completion recomputes the rates; above, steps are at
/// least this part of the lower bound.
constexpr int64_t kExactEntries = 20'000;
constexpr double kResolutionShare = 1.0 / 100;

/// What a job puts on a resource, and the latency of the fastest flow that does.
struct Demand {
  double bytes = 0;
  Picoseconds latency = std::numeric_limits<Picoseconds>::max();
};

/// Finds the cut that takes longest.
class Bound {
 public:
  void consider(double bytes, double bytes_per_s, Picoseconds latency, const auto& name) {
    if (bytes <= 0) return;
    const double us = static_cast<double>(latency) / 1e6;
    const double seconds = bytes / bytes_per_s + us * 1e-6;
    if (seconds > best_.seconds)
      best_ = {seconds, name(),
               fmt::format("{:.6g} B / {:.4g} GB/s + {:.4g} us", bytes, bytes_per_s / 1e9, us)};
  }
  const LowerBound& best() const { return best_; }

 private:
  LowerBound best_ = {0, "nothing moves", "0"};
};

std::vector<Demand> demands_of(const FlowBuilder& b, int job) {
  std::vector<Demand> demands(b.resources().size());
  for (int64_t f = 0; f < b.table().flows(); ++f) {
    const auto i = static_cast<size_t>(f);
    if (b.job_of_flow()[i] != job) continue;
    for (const Use& u : b.table().uses_of(f)) {
      Demand& d = demands[static_cast<size_t>(u.resource)];
      d.bytes += u.weight * b.demands()[i].bytes;
      d.latency = std::min(d.latency, b.demands()[i].latency);
    }
  }
  return demands;
}

/// Cuts: every NVLink, PCIe and NIC direction; all cables out of and into a leaf; all cables
/// together, which must carry every byte over at least its shortest path.
LowerBound bound_of(const FlowBuilder& b, int job) {
  Bound bound;
  const std::vector<Demand> demands = demands_of(b, job);
  Picoseconds fastest = std::numeric_limits<Picoseconds>::max();  // over any cable
  for (size_t r = 0; r < demands.size(); ++r)
    if (b.resources()[r].kind == Resource::Kind::kCable)
      fastest = std::min(fastest, demands[r].latency);
    else
      bound.consider(demands[r].bytes, b.table().capacity[r], demands[r].latency,
                     [&] { return b.name(r); });
  const FlowBuilder::Crossing& c = b.crossings()[static_cast<size_t>(job)];
  std::vector<double> out(c.out.size()), in(c.out.size());
  double all = 0;
  for (const Edge& edge : b.graph().edges()) {
    out[static_cast<size_t>(edge.from)] += edge.links * edge.bytes_per_s;
    in[static_cast<size_t>(edge.to)] += edge.links * edge.bytes_per_s;
    all += edge.links * edge.bytes_per_s;
  }
  for (size_t v = 0; v < out.size(); ++v) {
    const auto name = [&](const char* way) {
      return fmt::format("all cables {} {}", way, b.graph().vertex_name(static_cast<int>(v)));
    };
    bound.consider(c.out[v], out[v], fastest, [&] { return name("out of"); });
    bound.consider(c.in[v], in[v], fastest, [&] { return name("into"); });
  }
  bound.consider(c.hop_bytes, all, fastest, [] { return std::string("all cables together"); });
  return bound.best();
}

std::vector<LinkLoad> loads_of(const FlowBuilder& b, const FlowOutcome& o, Picoseconds end) {
  std::vector<LinkLoad> loads;
  const double seconds = static_cast<double>(end) / kPicosecondsPerSecond;
  for (size_t r = 0; r < b.resources().size(); ++r) {
    const double capacity = b.table().capacity[r];
    if (o.resource_bytes[r] <= 0 && b.resources()[r].kind != Resource::Kind::kCable) continue;
    loads.push_back({b.name(r), b.resources()[r], o.resource_bytes[r], capacity,
                     seconds > 0 ? o.resource_bytes[r] / (capacity * seconds) : 0});
  }
  return loads;
}

std::array<double, 10> histogram_of(const std::vector<LinkLoad>& loads) {
  std::array<double, 10> h{};
  for (const LinkLoad& l : loads)
    if (l.resource.kind == Resource::Kind::kCable)
      h[std::min<size_t>(9, static_cast<size_t>(l.load * 10))] += l.resource.count;
  return h;
}

std::vector<std::string> assumptions_of(const Scenario& s, const SimulationResult& r) {
  const NodeSpec& n = s.network.node;
  std::vector<std::string> out = {
      fmt::format("{} nodes of {} GPUs and {} NICs of {} port{}; NVLink {:.4g}, PCIe {:.4g}, NIC "
                  "{:.4g} GB/s each way",
                  s.network.nodes, n.gpus, n.nics, n.nic_ports, n.nic_ports == 1 ? "" : "s",
                  n.nvlink_gb_s, n.pcie_gb_s, n.nic_gb_s),
      fmt::format("cables between switches have the rate of a NIC's port, {:.4g} GB/s; network "
                  "links carry {:.4g} of their rate as payload",
                  n.nic_gb_s / static_cast<double>(n.nic_ports), s.network.efficiency),
      fmt::format(
          "a message takes {:.4g} us + {:.4g} us a switch + {:.4g} us a forwarding in a node",
          s.network.latency.message_us, s.network.latency.hop_us, s.network.latency.nvlink_us),
      fmt::format("{} routing over shortest paths; max-min fair rates between flows",
                  name_of(s.routing.policy)),
      r.resolution_us == 0
          ? "rates recomputed at every completion"
          : fmt::format("rates recomputed at most every {:.4g} us", r.resolution_us)};
  for (const std::string& note : s.hardware_notes) out.push_back(note);
  return out;
}

Picoseconds resolution_of(const Scenario& s, int64_t entries, double bound_seconds) {
  if (s.resolution_us >= 0) return std::llround(s.resolution_us * 1e6);
  if (entries <= kExactEntries) return 0;
  return std::llround(bound_seconds * kResolutionShare * kPicosecondsPerSecond);
}

}  // namespace

SimulationResult simulate(const Scenario& s, const std::function<void(double)>& progress) {
  const Network network(s.network, s.failures);
  FlowBuilder builder(network, s.routing, s.pxn, roles_of(s));
  SimulationResult result;
  double longest_bound = 0;
  for (size_t j = 0; j < s.jobs.size(); ++j) {
    add_job(s, j, builder);
    JobResult job;
    job.kind = name_of(s.jobs[j].kind);
    job.gpus = nodes_of(s, s.jobs[j]).nodes() * s.network.node.gpus;
    job.start = std::llround(s.jobs[j].start_us * 1e6);
    job.volume = volume_of(s, s.jobs[j]);
    result.jobs.push_back(std::move(job));
  }
  for (size_t j = 0; j < s.jobs.size(); ++j) {
    if (builder.crossings().size() <= j)
      throw Error(fmt::format("job {} ({}) moves nothing", j, result.jobs[j].kind),
                  "give it more than one GPU and bytes above 0");
    result.jobs[j].bound = bound_of(builder, static_cast<int>(j));
    longest_bound = std::max(longest_bound, result.jobs[j].bound.seconds);
  }
  const Picoseconds resolution = resolution_of(s, builder.table().flows(), longest_bound);
  const FlowOutcome outcome = run_flows(builder.table(), builder.demands(), {resolution, progress});
  for (size_t f = 0; f < outcome.end.size(); ++f) {
    JobResult& job = result.jobs[static_cast<size_t>(builder.job_of_flow()[f])];
    job.end = std::max(job.end, outcome.end[f]);
    result.end = std::max(result.end, outcome.end[f]);
  }
  result.loads = loads_of(builder, outcome, result.end);
  result.histogram = histogram_of(result.loads);
  result.flows = builder.flows();
  result.entries = builder.table().flows();
  result.steps = outcome.steps;
  result.resolution_us = static_cast<double>(resolution) / 1e6;
  result.switches = static_cast<int64_t>(network.graph().switches.size());
  for (const Cable& c : network.cables()) result.cables += c.parallel;
  result.assumptions = assumptions_of(s, result);
  return result;
}

}  // namespace fathom::net
