#include "cluster/net/flow_builder.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "base/error.h"

namespace fathom::net {
namespace {

using Kind = Resource::Kind;

/// RoCE v2's UDP destination port, and the first of the source ports that queue pairs draw from.
constexpr uint64_t kRoceUdpPort = 4791, kFirstUdpPort = 49152;

/// 16 bytes each in the table, twice that when it last grew (at 2^26), and 4 in the solver, beside
/// some 60 bytes a flow: well within 8 GB.
constexpr size_t kMostUses = 130'000'000;

}  // namespace

struct FlowBuilder::Way {
  int64_t nic, nic_to;
  double part;
};

FlowBuilder::FlowBuilder(const Network& network, const RoutingSpec& routing, bool forward,
                         const std::vector<std::string>& roles)
    : network_(network),
      routing_(routing),
      forward_(forward),
      graph_(network, routing.policy == RoutingPolicy::kAdaptive) {
  if (routing.queue_pairs < 1)
    throw Error(fmt::format("queue_pairs = {}: must be at least 1", routing.queue_pairs));
  group_nodes(roles);
  add_resources();
}

void FlowBuilder::group_nodes(const std::vector<std::string>& roles) {
  const bool alone = routing_.policy != RoutingPolicy::kAdaptive;
  std::map<std::pair<std::string, std::vector<int>>, int> known;
  for (int64_t node = 0; node < network_.spec().nodes; ++node) {
    std::vector<int> plugs;
    for (int64_t nic = 0; nic < network_.nics(); ++nic)
      for (int64_t port = 0; port < network_.ports_of(nic); ++port)
        plugs.push_back(network_.attachment(node, nic, port));
    if (alone) plugs.push_back(static_cast<int>(node));
    const auto [at, is_new] = known.try_emplace({roles[static_cast<size_t>(node)], plugs},
                                                static_cast<int>(groups_.size()));
    if (is_new) groups_.emplace_back();
    groups_[static_cast<size_t>(at->second)].nodes.push_back(node);
    group_of_.push_back(at->second);
  }
}

void FlowBuilder::add_resource(Kind kind, int owner, int64_t index, double count, double rate) {
  resources_.push_back({kind, owner, static_cast<int>(index), count});
  table_.capacity.push_back(rate);
}

// The order of local() below.
void FlowBuilder::add_resources() {
  const NodeSpec& n = network_.spec().node;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const int owner = static_cast<int>(g);
    const double count = groups_[g].count();
    for (const Kind kind : {Kind::kNvlinkOut, Kind::kNvlinkIn})
      for (int64_t i = 0; i < n.gpus; ++i) add_resource(kind, owner, i, count, n.nvlink_gb_s * 1e9);
    for (const Kind kind : {Kind::kPcieOut, Kind::kPcieIn})
      for (int64_t i = 0; i < n.gpus; ++i) add_resource(kind, owner, i, count, n.pcie_gb_s * 1e9);
    for (const Kind kind : {Kind::kNicOut, Kind::kNicIn})
      for (int64_t nic = 0; nic < network_.nics(); ++nic)
        for (int64_t port = 0; port < n.nic_ports; ++port)
          add_resource(kind, owner, nic * n.nic_ports + port, count,
                       network_.port_bytes_per_s(nic));
  }
  for (size_t e = 0; e < graph_.edges().size(); ++e)
    add_resource(Kind::kCable, static_cast<int>(e), 0, graph_.edges()[e].links,
                 graph_.edges()[e].bytes_per_s);
}

int32_t FlowBuilder::local(int group, Kind kind, int64_t index) const {
  const NodeSpec& n = network_.spec().node;
  const int64_t ports = network_.nics() * n.nic_ports, each = 4 * n.gpus + 2 * ports;
  const auto k = static_cast<int64_t>(kind);
  const int64_t base = k < 4 ? k * n.gpus : 4 * n.gpus + (k - 4) * ports;
  return static_cast<int32_t>(group * each + base + index);
}

std::string FlowBuilder::name(size_t resource) const {
  constexpr std::array kNames = {"NVLink out of", "NVLink into", "PCIe out of",
                                 "PCIe into",     "NIC out of",  "NIC into"};
  const Resource& r = resources_[resource];
  if (r.kind == Kind::kCable) return graph_.name(r.owner);
  const NodeGroup& g = groups_[static_cast<size_t>(r.owner)];
  const int ports = static_cast<int>(network_.spec().node.nic_ports);
  std::string part = fmt::format("GPU {}", r.index);
  if (r.kind >= Kind::kNicOut)
    part = ports == 1 ? fmt::format("NIC {}", r.index)
                      : fmt::format("NIC {} port {}", r.index / ports, r.index % ports);
  const std::string more =
      g.nodes.size() == 1 ? "" : fmt::format(" (and {} alike)", g.nodes.size() - 1);
  return fmt::format("{} node {} {}{}", kNames[static_cast<size_t>(r.kind)], g.nodes[0], part,
                     more);
}

std::vector<int64_t> FlowBuilder::nics_of(int64_t gpu) const {
  const NodeSpec& n = network_.spec().node;
  if (n.nics <= n.gpus) return {gpu * n.nics / n.gpus};
  std::vector<int64_t> own;
  for (int64_t i = 0; i < n.nics / n.gpus; ++i) own.push_back(gpu * (n.nics / n.gpus) + i);
  return own;
}

int64_t FlowBuilder::gpu_of(int64_t nic) const {
  const NodeSpec& n = network_.spec().node;
  return n.nics <= n.gpus ? nic * (n.gpus / n.nics) : nic / (n.nics / n.gpus);
}

int FlowBuilder::attachment(int group, int64_t nic, int64_t port) const {
  return network_.attachment(groups_[static_cast<size_t>(group)].nodes[0], nic, port);
}

/// Ports of the two NICs between which a path is left.
std::vector<int64_t> FlowBuilder::usable_ports(int from, int to, int64_t nic, int64_t nic_to) {
  std::vector<int64_t> ports;
  for (int64_t p = 0; p < network_.ports_of(nic); ++p) {
    const int a = attachment(from, nic, p), b = attachment(to, nic_to, p);
    if (a >= 0 && b >= 0 && graph_.distance(graph_.vertex_of(a), graph_.vertex_of(b)) >= 0)
      ports.push_back(p);
  }
  return ports;
}

void FlowBuilder::fail_disconnected(const Transfer& t) const {
  const std::vector<int64_t>& sources = groups_[static_cast<size_t>(t.from)].nodes;
  const std::vector<int64_t>& targets = groups_[static_cast<size_t>(t.to)].nodes;
  std::string nics;
  for (size_t i = 0; i < t.nics.size(); ++i)
    nics += fmt::format("{}NIC {} to NIC {}", i > 0 ? ", " : "", t.nics[i],
                        t.nics_to.empty() ? t.nics[i] : t.nics_to[i]);
  throw Error(fmt::format("node {} cannot reach node {}: no path is left for {}", sources.front(),
                          targets.back(), nics),
              forward_ ? "no NIC of the two nodes has one; remove a failure"
                       : "let nodes forward through NVLink to another NIC: pxn = true");
}

/// The preferred NICs if paths are left for them, otherwise, with forwarding, all that have one.
std::vector<FlowBuilder::Way> FlowBuilder::ways(const Transfer& t) {
  std::vector<Way> out;
  bool whole = true;
  for (size_t i = 0; i < t.nics.size(); ++i) {
    const int64_t to = t.nics_to.empty() ? t.nics[i] : t.nics_to[i];
    if (usable_ports(t.from, t.to, t.nics[i], to).empty())
      whole = false;
    else
      out.push_back({t.nics[i], to, 0});
  }
  if (!whole && forward_ && t.nics[0] < network_.spec().node.nics) {
    out.clear();
    for (int64_t nic = 0; nic < network_.spec().node.nics; ++nic)
      if (!usable_ports(t.from, t.to, nic, nic).empty()) out.push_back({nic, nic, 0});
    whole = !out.empty();
  }
  if (!whole) fail_disconnected(t);
  for (Way& w : out) w.part = 1 / static_cast<double>(out.size());
  return out;
}

void FlowBuilder::use(int32_t resource, double weight) {
  if (weight <= 0) return;
  for (Use& u : uses_)
    if (u.resource == resource) {
      u.weight += weight;
      return;
    }
  uses_.push_back({resource, weight});
}

/// Between the GPUs of one end and its NIC.
void FlowBuilder::use_side(int group, const std::vector<GpuShare>& gpus, int64_t nic, bool out,
                           bool copy, double pairs, double wire_share, bool& forwarded) {
  const double each = pairs / groups_[static_cast<size_t>(group)].count();
  const int64_t owner = gpu_of(nic);
  const auto pcie = out ? Kind::kPcieOut : Kind::kPcieIn;
  double direct = 0;
  for (const GpuShare& g : gpus) {
    const std::vector<int64_t> own = nics_of(g.gpu);
    if (!copy && std::find(own.begin(), own.end(), nic) != own.end()) {
      direct += g.share;
      use(local(group, pcie, g.gpu), each * g.share * wire_share);
      continue;
    }
    forwarded = true;
    use(local(group, Kind::kNvlinkOut, out ? g.gpu : owner), each * g.share);
    use(local(group, Kind::kNvlinkIn, out ? owner : g.gpu), each * g.share);
  }
  if (!gpus.empty()) use(local(group, pcie, owner), each * wire_share * std::max(0.0, 1 - direct));
}

std::vector<EdgeShare> FlowBuilder::path(const Transfer& t, const Way& way, int64_t port,
                                         int64_t qp, int from, int to) {
  if (routing_.policy == RoutingPolicy::kAdaptive) return graph_.spread(from, to);
  const auto node = [&](int g) { return groups_[static_cast<size_t>(g)].nodes[0]; };
  const int64_t nics = network_.nics(), ports = network_.spec().node.nic_ports;
  const int64_t source = (node(t.from) * nics + way.nic) * ports + port;
  const int64_t target = (node(t.to) * nics + way.nic_to) * ports + port;
  if (routing_.policy == RoutingPolicy::kEcmp)
    return graph_.walk(from, to, [&](int vertex, int, size_t n) {
      const std::array<uint64_t, 5> tuple = {
          static_cast<uint64_t>(source), static_cast<uint64_t>(target),
          kFirstUdpPort + static_cast<uint64_t>(qp), kRoceUdpPort, static_cast<uint64_t>(vertex)};
      return static_cast<size_t>(XXH64(tuple.data(), sizeof tuple, routing_.seed) % n);
    });
  // Destinations of one leaf take turns on the ways up, as in D-mod-K routing (Zahavi, 2012).
  const int64_t half = std::max<int64_t>(1, network_.spec().topology.radix / 2);
  int64_t slot = target;
  if (network_.spec().topology.kind == TopologyKind::kMultiPlane) slot = node(t.to);
  if (network_.spec().topology.kind == TopologyKind::kMultiRail)
    slot = (node(t.to) / half * network_.spec().node.nics + way.nic_to) * half + node(t.to) % half;
  const int last = graph_.distance(from, to) - 1;
  // On the way down the same digit picks among the parallel cables of its layer.
  return graph_.walk(from, to, [&](int, int hop, size_t n) {
    int64_t turn = slot;
    for (int layer = 0; layer < std::min(hop, last - hop); ++layer) turn /= half;
    return static_cast<size_t>(turn) % n;
  });
}

void FlowBuilder::use_edges(const Transfer& t, const Way& way, int64_t port, int64_t qp,
                            double share, double bytes, int& hops) {
  const int from = graph_.vertex_of(attachment(t.from, way.nic, port));
  const int to = graph_.vertex_of(attachment(t.to, way.nic_to, port));
  const int distance = graph_.distance(from, to);
  hops = std::max(hops, distance + 1);
  if (distance == 0) return;
  const auto first_edge = static_cast<int32_t>(resources_.size() - graph_.edges().size());
  double hop_bytes = 0;
  for (const EdgeShare& e : path(t, way, port, qp, from, to)) {
    const Edge& edge = graph_.edges()[static_cast<size_t>(e.edge)];
    double weight = t.pairs * share * e.share;
    if (edge.from == from) weight *= t.sent_share;
    if (edge.to == to) weight *= t.received_share;
    use(first_edge + e.edge, weight / edge.links);
    hop_bytes += weight * bytes;
  }
  Crossing& c = crossing(t.job);
  c.out[static_cast<size_t>(from)] += t.pairs * share * bytes * t.sent_share;
  c.in[static_cast<size_t>(to)] += t.pairs * share * bytes * t.received_share;
  c.hop_bytes += hop_bytes;
}

FlowBuilder::Crossing& FlowBuilder::crossing(int job) {
  while (crossings_.size() <= static_cast<size_t>(job)) {
    size_t vertices = 0;
    for (const Edge& e : graph_.edges())
      vertices = std::max(vertices, static_cast<size_t>(std::max(e.from, e.to)) + 1);
    crossings_.push_back({std::vector<double>(vertices), std::vector<double>(vertices), 0});
  }
  return crossings_[static_cast<size_t>(job)];
}

void FlowBuilder::finish_flow(double bytes, double share, double latency_us, double repeats,
                              Picoseconds start, int job, double count) {
  if (table_.uses.size() + uses_.size() > kMostUses)
    throw Error(
        fmt::format("more than {} distinct flows: too many to simulate in 8 GB", table_.flows()),
        routing_.policy == RoutingPolicy::kAdaptive
            ? "take fewer nodes"
            : "take fewer nodes, or adaptive routing, under which equal flows are one");
  table_.add(uses_, share);
  demands_.push_back(
      {bytes, start, static_cast<Picoseconds>(std::llround(latency_us * repeats * 1e6))});
  job_of_flow_.push_back(job);
  crossing(job);
  flows_ += count;
}

/// Adds what one hashed flow takes over `ports` of a NIC, which sprays its packets over them; its
/// latency in microseconds.
double FlowBuilder::use_way(const Transfer& t, const Way& way, const std::vector<int64_t>& ports,
                            int64_t qp, double bytes) {
  const Latency& latency = network_.spec().latency;
  const double each_port = 1 / static_cast<double>(ports.size());
  bool forwarded_from = false, forwarded_to = false;
  int hops = 0;
  use_side(t.from, t.sources, way.nic, true, t.copy_at_source, t.pairs, t.sent_share,
           forwarded_from);
  use_side(t.to, t.targets, way.nic_to, false, t.copy_at_target, t.pairs, t.received_share,
           forwarded_to);
  const double from = t.pairs / groups_[static_cast<size_t>(t.from)].count();
  const double to = t.pairs / groups_[static_cast<size_t>(t.to)].count();
  const int64_t width = network_.spec().node.nic_ports;
  for (const int64_t p : ports) {
    use(local(t.from, Kind::kNicOut, way.nic * width + p), from * each_port * t.sent_share);
    use(local(t.to, Kind::kNicIn, way.nic_to * width + p), to * each_port * t.received_share);
    use_edges(t, way, p, qp, each_port, bytes, hops);
  }
  return latency.message_us + latency.hop_us * hops +
         latency.nvlink_us * ((forwarded_from ? 1 : 0) + (forwarded_to ? 1 : 0));
}

void FlowBuilder::send(const Transfer& t) {
  if (t.pairs <= 0 || t.bytes <= 0) return;
  for (const Way& way : ways(t)) {
    const std::vector<int64_t> ports = usable_ports(t.from, t.to, way.nic, way.nic_to);
    const double part = way.part / static_cast<double>(routing_.queue_pairs);
    for (int64_t qp = 0; qp < routing_.queue_pairs; ++qp) {
      uses_.clear();
      const double us = use_way(t, way, ports, qp, t.bytes * part);
      finish_flow(t.bytes * part, part, us, t.repeats, t.start, t.job, t.pairs);
    }
  }
}

bool FlowBuilder::nics_are_alike(int group) const {
  const int first = attachment(group, 0, 0);
  for (int64_t nic = 0; nic < network_.spec().node.nics; ++nic)
    for (int64_t port = 0; port < network_.ports_of(nic); ++port)
      if (attachment(group, nic, port) != first) return false;
  return first >= 0;
}

void FlowBuilder::send_alike(const std::vector<Transfer>& transfers) {
  const Transfer& first = transfers.front();
  const bool one = routing_.policy == RoutingPolicy::kAdaptive && nics_are_alike(first.from) &&
                   nics_are_alike(first.to) && first.nics.size() == 1;
  if (!one) {
    for (const Transfer& t : transfers) send(t);
    return;
  }
  if (first.pairs <= 0 || first.bytes <= 0) return;
  const auto n = static_cast<double>(transfers.size());
  double us = 0;
  uses_.clear();
  for (const Transfer& t : transfers)
    for (const Way& way : ways(t)) us = std::max(us, use_way(t, way, {0}, 0, t.bytes));
  for (Use& u : uses_) u.weight /= n;
  finish_flow(first.bytes * n, n, us, first.repeats, first.start, first.job, first.pairs * n);
}

void FlowBuilder::send_inside(int group, int64_t gpu, const std::vector<GpuShare>& targets,
                              double bytes, int job, Picoseconds start, double repeats) {
  if (targets.empty() || bytes <= 0) return;
  uses_.clear();
  for (const GpuShare& g : targets) {
    use(local(group, Kind::kNvlinkOut, gpu), g.share);
    use(local(group, Kind::kNvlinkIn, g.gpu), g.share);
  }
  finish_flow(bytes, 1, network_.spec().latency.nvlink_us, repeats, start, job,
              groups_[static_cast<size_t>(group)].count());
}

}  // namespace fathom::net
