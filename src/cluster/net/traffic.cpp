#include "cluster/net/traffic.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/philox.h"

namespace fathom::net {
namespace {

constexpr double kPicosecondsPerMicrosecond = 1e6;

bool is_ring(const Job& job) {
  return job.kind == JobKind::kAllGather || job.kind == JobKind::kReduceScatter ||
         job.kind == JobKind::kAllReduce;
}

/// Rings and permutations distinguish every node; the others only groups, and servers.
bool nodes_are_alike(const Job& job) {
  if (is_ring(job)) return job.in_network == InNetwork::kReduce;
  return job.kind != JobKind::kPermutation;
}

/// Fisher and Yates: every order is as likely.
void shuffle(std::vector<int64_t>& nodes, uint64_t seed) {
  const Philox random(seed);
  for (size_t i = nodes.size(); i > 1; --i) std::swap(nodes[i - 1], nodes[random.below(i, i)]);
}

/// Sends one job's messages; one instance a job.
class Sender {
 public:
  Sender(const Scenario& scenario, size_t job, FlowBuilder& builder)
      : scenario_(scenario),
        job_(scenario.jobs[job]),
        builder_(builder),
        id_(static_cast<int>(job)),
        gpus_(scenario.network.node.gpus),
        start_(std::llround(job_.start_us * kPicosecondsPerMicrosecond)) {}

  void send(const std::vector<int64_t>& nodes) {
    nodes_ = nodes;
    switch (job_.kind) {
      case JobKind::kAllToAll:
        return all_to_all();
      case JobKind::kDispatch:
        return experts(true);
      case JobKind::kCombine:
        return experts(false);
      case JobKind::kAllGather:
      case JobKind::kReduceScatter:
        return ring(1);
      case JobKind::kAllReduce:
        return job_.in_network == InNetwork::kReduce ? reduce_in_network() : ring(2);
      case JobKind::kPermutation:
        return permutation();
      case JobKind::kStorage:
        return storage();
    }
  }

 private:
  struct Members {
    int group;
    double count;
  };
  /// The node groups that `nodes` consist of, and how many nodes each has; in order.
  std::vector<Members> members(const std::vector<int64_t>& nodes) const {
    std::vector<Members> out;
    for (const int64_t node : nodes) {
      const int g = builder_.group_of(node);
      const auto at = std::find_if(out.begin(), out.end(), [&](auto& m) { return m.group == g; });
      if (at == out.end())
        out.push_back({g, 1});
      else
        at->count += 1;
    }
    return out;
  }

  /// Calls send(from, to, pairs) for all ordered pairs of different nodes.
  template <class F>
  void for_pairs(const std::vector<Members>& all, F&& send) const {
    for (const Members& a : all)
      for (const Members& b : all)
        send(a.group, b.group, a.count * (b.count - (a.group == b.group)));
  }

  std::vector<GpuShare> every_gpu(double share) const {
    std::vector<GpuShare> out;
    for (int64_t g = 0; g < gpus_; ++g) out.push_back({g, share});
    return out;
  }

  Transfer transfer(int from, int to, double pairs, double bytes) const {
    Transfer t;
    t.from = from;
    t.to = to;
    t.pairs = pairs;
    t.bytes = bytes;
    t.job = id_;
    t.start = start_;
    return t;
  }

  /// With forwarding, the messages of a node's GPUs to one remote GPU leave as one, through the
  /// NIC of that GPU's rail (NCCL's PXN); without, each GPU uses its own.
  void all_to_all() {
    const auto gpus = static_cast<double>(gpus_), nodes = static_cast<double>(nodes_.size());
    const double piece = static_cast<double>(job_.bytes) / (nodes * gpus);
    const std::vector<Members> all = members(nodes_);
    for (const Members& m : all)
      for (int64_t i = 0; i < gpus_; ++i) {
        std::vector<GpuShare> others = every_gpu(1 / std::max(1.0, gpus - 1));
        others.erase(others.begin() + i);
        builder_.send_inside(m.group, i, others, piece * (gpus - 1), id_, start_);
      }
    for_pairs(all, [&](int a, int b, double pairs) {
      if (pairs <= 0) return;
      if (scenario_.pxn)
        send_by_rail(a, b, pairs, piece);
      else
        send_directly(a, b, pairs, piece);
    });
  }

  void send_by_rail(int a, int b, double pairs, double piece) {
    std::vector<Transfer> rails;
    for (int64_t j = 0; j < gpus_; ++j) {
      rails.push_back(transfer(a, b, pairs, piece * static_cast<double>(gpus_)));
      rails.back().sources = every_gpu(1 / static_cast<double>(gpus_));
      rails.back().targets = {{j, 1}};
      rails.back().nics = builder_.nics_of(j);
    }
    builder_.send_alike(rails);
  }

  void send_directly(int a, int b, double pairs, double piece) {
    for (int64_t i = 0; i < gpus_; ++i)
      for (int64_t j = 0; j < gpus_; ++j) {
        Transfer t = transfer(a, b, pairs, piece);
        t.sources = {{i, 1}};
        t.targets = {{j, 1}};
        t.nics = builder_.nics_of(i);
        t.nics_to = builder_.nics_of(j);
        builder_.send(t);
      }
  }

  /// A token crosses through its GPU's own NIC to the GPU of the same index, which passes it on
  /// over NVLink (TR 3.2.2); combine is the same backwards. At that GPU every copy takes the NVLink
  /// engines, the one for itself too, as the forwarding kernels copy both.
  void experts(bool dispatch) {
    const auto nodes = static_cast<int64_t>(nodes_.size());
    const ExpertCopies copies = expected_copies(job_.routing, nodes, gpus_);
    const double hit = copies.nodes / static_cast<double>(nodes);
    const double fan = copies.gpus / copies.nodes;
    const double bytes =
        static_cast<double>(job_.tokens * token_bytes(job_.payload, job_.hidden)) * hit;
    const std::vector<GpuShare> spread = every_gpu(fan / static_cast<double>(gpus_));
    const std::vector<Members> all = members(nodes_);
    for (const Members& m : all)
      for (int64_t i = 0; i < gpus_; ++i)
        builder_.send_inside(m.group, i, spread, bytes, id_, start_);
    // Multicast: the NIC sends a token once if any of its copies is for another node.
    const double remote =
        copies.nodes * static_cast<double>(nodes - 1) / static_cast<double>(nodes);
    const double once = job_.in_network == InNetwork::kNone || remote <= 1 ? 1 : 1 / remote;
    for_pairs(all, [&](int a, int b, double pairs) {
      std::vector<Transfer> rails;
      for (int64_t i = 0; i < gpus_; ++i) {
        Transfer t = transfer(a, b, pairs, bytes);
        t.nics = builder_.nics_of(i);
        (dispatch ? t.sources : t.targets) = {{i, 1}};
        (dispatch ? t.targets : t.sources) = spread;
        (dispatch ? t.copy_at_target : t.copy_at_source) = true;
        (dispatch ? t.sent_share : t.received_share) = once;
        rails.push_back(std::move(t));
      }
      builder_.send_alike(rails);
    });
  }

  /// NCCL's rings: one a NIC. Each enters a node through its NIC, visits the GPUs over NVLink and
  /// leaves through the same NIC. Every edge carries (n - 1) / n of the ring's part of the data.
  void ring(double passes) {
    const int64_t nics = scenario_.network.node.nics;
    const auto n = static_cast<double>(nodes_.size()), ranks = n * static_cast<double>(gpus_);
    const double bytes =
        passes * static_cast<double>(job_.bytes) / static_cast<double>(nics) * (ranks - 1) / ranks;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const int group = builder_.group_of(nodes_[i]);
      for (int64_t gpu = 0; gpus_ > 1 && gpu < gpus_; ++gpu)
        builder_.send_inside(group, gpu, {{(gpu + 1) % gpus_, 1}},
                             bytes * static_cast<double>(nics), id_, start_, passes * (ranks - 1));
      if (nodes_.size() == 1) continue;
      const int next = builder_.group_of(nodes_[(i + 1) % nodes_.size()]);
      for (int64_t nic = 0; nic < nics; ++nic) {
        Transfer t = transfer(group, next, 1, bytes);
        t.sources = t.targets = {{builder_.gpu_of(nic), 1}};
        t.nics = {nic};
        t.repeats = passes * (n - 1);
        builder_.send(t);
      }
    }
  }

  /// The switches add up: every NIC sends its part once and receives the sum once. Inside the node
  /// the parts are first gathered, and at last handed out, over NVLink.
  void reduce_in_network() {
    const int64_t nics = scenario_.network.node.nics;
    const auto gpus = static_cast<double>(gpus_);
    const double bytes = static_cast<double>(job_.bytes);
    const std::vector<Members> all = members(nodes_);
    for (const Members& m : all)
      for (int64_t gpu = 0; gpus_ > 1 && gpu < gpus_; ++gpu)
        builder_.send_inside(m.group, gpu, {{(gpu + 1) % gpus_, 1}}, 2 * bytes * (gpus - 1) / gpus,
                             id_, start_, 2);
    if (nodes_.size() == 1) return;
    const double others = static_cast<double>(nodes_.size()) - 1;
    // Each pair of nodes stands for its part of the one copy up and the one copy down.
    for_pairs(all, [&](int a, int b, double pairs) {
      for (int64_t nic = 0; nic < nics; ++nic) {
        Transfer t = transfer(a, b, pairs, bytes / static_cast<double>(nics) / others);
        t.sources = t.targets = {{builder_.gpu_of(nic), 1}};
        t.nics = {nic};
        builder_.send(t);
      }
    });
  }

  void permutation() {
    const auto n = static_cast<int64_t>(nodes_.size());
    const int64_t shift = ((job_.shift % n) + n) % n;
    if (job_.shuffle_seed >= 0) shuffle(nodes_, static_cast<uint64_t>(job_.shuffle_seed));
    for (int64_t i = 0; i < n; ++i) {
      const int a = builder_.group_of(nodes_[static_cast<size_t>(i)]);
      const int b = builder_.group_of(nodes_[static_cast<size_t>((i + shift) % n)]);
      for (int64_t g = 0; g < gpus_; ++g) {
        Transfer t = transfer(a, b, 1, static_cast<double>(job_.bytes));
        t.sources = t.targets = {{g, 1}};
        t.nics = builder_.nics_of(g);
        builder_.send(t);
      }
    }
  }

  void storage() {
    const std::vector<int64_t> clients(nodes_.begin(), nodes_.end() - job_.servers);
    const std::vector<int64_t> servers(nodes_.end() - job_.servers, nodes_.end());
    const int64_t compute = scenario_.network.node.nics;
    const bool own = scenario_.network.storage_plane;
    for (const Members& s : members(servers))
      for (const Members& c : members(clients))
        for (int64_t nic = own ? compute : 0; nic < compute + (own ? 1 : 0); ++nic) {
          const double bytes = static_cast<double>(job_.bytes) / static_cast<double>(job_.servers);
          Transfer t = transfer(s.group, c.group, s.count * c.count,
                                own ? bytes : bytes / static_cast<double>(compute));
          t.nics = {nic};
          builder_.send(t);
        }
  }

  const Scenario& scenario_;
  const Job& job_;
  FlowBuilder& builder_;
  int id_;
  int64_t gpus_;
  Picoseconds start_;
  std::vector<int64_t> nodes_;
};

void check_kind(const Job& job, const JobNodes& nodes) {
  const auto group = static_cast<int64_t>(nodes.groups[0].size());
  const std::string_view kind = name_of(job.kind);
  const bool needs_two = job.kind == JobKind::kPermutation || job.kind == JobKind::kStorage;
  if (needs_two && group < 2)
    throw Error(fmt::format("{} needs at least 2 nodes, not {}", kind, group));
  if (job.kind == JobKind::kPermutation && job.shift % group == 0)
    throw Error(
        fmt::format("shift = {}: each of the {} nodes would send to itself", job.shift, group),
        fmt::format("the nearest are {} and {}", job.shift - 1, job.shift + 1));
  if (job.kind == JobKind::kStorage && (job.servers < 1 || job.servers >= group))
    throw Error(
        fmt::format("{} servers among {} nodes: must be 1 to {}", job.servers, group, group - 1),
        fmt::format("the nearest is {}", job.servers < 1 ? 1 : group - 1));
}

}  // namespace

int64_t JobNodes::nodes() const {
  return static_cast<int64_t>(groups.size() * groups[0].size());
}

JobNodes nodes_of(const Scenario& scenario, const Job& job) {
  const int64_t all = scenario.network.nodes;
  if (job.stride < 1) throw Error(fmt::format("stride = {}: must be at least 1", job.stride));
  if (job.first_node < 0 || job.first_node >= all)
    throw Error(fmt::format("first_node = {}: the nodes are 0 to {}", job.first_node, all - 1));
  const int64_t most = (all - job.first_node + job.stride - 1) / job.stride;
  const int64_t nodes = job.nodes == 0 ? most : job.nodes;
  if (nodes < 1 || nodes > most)
    throw Error(fmt::format("{} nodes from {} on, each {} after the last: the network has {}",
                            nodes, job.first_node, job.stride, all),
                fmt::format("the nearest is {} nodes", nodes < 1 ? 1 : most));
  const int64_t size = job.group_nodes == 0 ? nodes : job.group_nodes;
  if (size < 1 || nodes % size != 0) {
    int64_t below = std::clamp<int64_t>(size, 1, nodes);
    while (nodes % below != 0) --below;
    throw Error(fmt::format("{} nodes do not divide into groups of {}", nodes, size),
                fmt::format("the nearest is {}", below));
  }
  JobNodes out;
  for (int64_t i = 0; i < nodes; ++i) {
    if (i % size == 0) out.groups.emplace_back();
    out.groups.back().push_back(job.first_node + i * job.stride);
  }
  check_kind(job, out);
  return out;
}

std::vector<std::string> roles_of(const Scenario& scenario) {
  std::vector<std::string> roles(static_cast<size_t>(scenario.network.nodes));
  for (size_t j = 0; j < scenario.jobs.size(); ++j) {
    const Job& job = scenario.jobs[j];
    const JobNodes nodes = nodes_of(scenario, job);
    for (size_t g = 0; g < nodes.groups.size(); ++g)
      for (size_t i = 0; i < nodes.groups[g].size(); ++i) {
        std::string& role = roles[static_cast<size_t>(nodes.groups[g][i])];
        const bool server = job.kind == JobKind::kStorage &&
                            i + static_cast<size_t>(job.servers) >= nodes.groups[g].size();
        role += fmt::format("job {} group {} {};", j, g,
                            nodes_are_alike(job) ? (server ? "server" : "") : fmt::to_string(i));
      }
  }
  return roles;
}

void add_job(const Scenario& scenario, size_t job, FlowBuilder& builder) {
  Sender sender(scenario, job, builder);
  for (const auto& nodes : nodes_of(scenario, scenario.jobs[job]).groups) sender.send(nodes);
}

JobVolume volume_of(const Scenario& scenario, const Job& job) {
  const JobNodes all = nodes_of(scenario, job);
  const auto n = static_cast<double>(all.groups[0].size());
  const auto g = static_cast<double>(scenario.network.node.gpus), ranks = n * g;
  const auto s = static_cast<double>(job.bytes);
  const double ring = (ranks - 1) / ranks;
  switch (job.kind) {
    case JobKind::kAllToAll:
      return {s, ring, g * s * (n - 1) / n,
              fmt::format("each of {:.0f} GPUs sends {:.4g} B, {:.0f}/{:.0f} of it to other nodes",
                          ranks, s, n - 1, n)};
    case JobKind::kAllGather:
    case JobKind::kReduceScatter:
      return {s, ring, n > 1 ? s * ring : 0,
              fmt::format("ring over {:.0f} GPUs: {:.4g} B x {:.0f}/{:.0f} over every edge", ranks,
                          s, ranks - 1, ranks)};
    case JobKind::kAllReduce:
      if (job.in_network == InNetwork::kReduce)
        return {s, 2 * ring, n > 1 ? s : 0,
                fmt::format("switches add: every node sends and receives {:.4g} B once", s)};
      return {s, 2 * ring, n > 1 ? 2 * s * ring : 0,
              fmt::format("two ring passes over {:.0f} GPUs: 2 x {:.4g} B x {:.0f}/{:.0f} over "
                          "every edge",
                          ranks, s, ranks - 1, ranks)};
    case JobKind::kPermutation:
      return {s, 1, g * s,
              fmt::format("each of {:.0f} GPUs sends {:.4g} B to another node", ranks, s)};
    case JobKind::kStorage:
      return {s / g, 1, s,
              fmt::format("each of {:.0f} clients reads {:.4g} B from {} servers",
                          n - static_cast<double>(job.servers), s, job.servers)};
    case JobKind::kDispatch:
    case JobKind::kCombine: {
      const ExpertCopies c =
          expected_copies(job.routing, static_cast<int64_t>(n), scenario.network.node.gpus);
      const double token = static_cast<double>(token_bytes(job.payload, job.hidden));
      const double copies = n > 1 ? c.nodes : c.gpus;
      const double crossing = c.nodes * (n - 1) / n;
      return {static_cast<double>(job.tokens) * token * copies, 1,
              g * static_cast<double>(job.tokens) * token * crossing,
              fmt::format("{} tokens x {:.0f} B x {:.4g} nodes a token ({:.4g} of them remote, "
                          "{:.4g} GPUs)",
                          job.tokens, token, c.nodes, crossing, c.gpus)};
    }
  }
  FATHOM_ASSERT(false);
}

}  // namespace fathom::net
