#include "cluster/net/routing_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>

#include "base/error.h"

namespace fathom::net {
namespace {

using Neighbours = std::vector<std::pair<int, int>>;  // switch, cables

std::vector<Neighbours> neighbours_of(const Network& network) {
  std::vector<Neighbours> out(network.graph().switches.size());
  for (const Cable& c : network.cables()) {
    if (c.parallel == 0) continue;
    out[static_cast<size_t>(c.a)].emplace_back(c.b, c.parallel);
    out[static_cast<size_t>(c.b)].emplace_back(c.a, c.parallel);
  }
  for (Neighbours& n : out) std::sort(n.begin(), n.end());
  return out;
}

/// Refines colours until equal ones have equal cables to every colour; the colours, numbered in
/// the order of their first switch.
std::vector<int> classes_of(const SwitchGraph& graph, const std::vector<Neighbours>& next) {
  std::vector<int> color;
  size_t colors = 1;
  for (const Switch& s : graph.switches)
    color.push_back(s.endpoint_ports == 0 ? 0 : static_cast<int>(colors++));
  for (size_t before = 0; before != colors;) {
    before = colors;
    std::map<std::pair<int, Neighbours>, int> known;
    std::vector<int> finer;
    for (size_t s = 0; s < next.size(); ++s) {
      Neighbours seen = next[s];
      for (auto& [neighbour, cables] : seen) neighbour = color[static_cast<size_t>(neighbour)];
      std::sort(seen.begin(), seen.end());
      finer.push_back(known.try_emplace({color[s], std::move(seen)}, static_cast<int>(known.size()))
                          .first->second);
    }
    color = std::move(finer);
    colors = known.size();
  }
  return color;
}

}  // namespace

RoutingGraph::RoutingGraph(const Network& network, bool merge) : graph_(&network.graph()) {
  const std::vector<Neighbours> next = neighbours_of(network);
  if (merge) {
    vertex_of_ = classes_of(*graph_, next);
  } else {
    vertex_of_.resize(next.size());
    std::iota(vertex_of_.begin(), vertex_of_.end(), 0);
  }
  for (size_t s = 0; s < next.size(); ++s) {
    const auto v = static_cast<size_t>(vertex_of_[s]);
    if (v >= members_.size()) members_.resize(v + 1);
    members_[v].push_back(static_cast<int>(s));
  }
  add_edges(network, merge);
  out_.resize(members_.size());
  for (size_t e = 0; e < edges_.size(); ++e)
    out_[static_cast<size_t>(edges_[e].from)].push_back(static_cast<int>(e));
  toward_.resize(members_.size());
}

void RoutingGraph::add_edges(const Network& network, bool merge) {
  std::map<std::tuple<int, int, int>, size_t> known;
  const auto add = [&](int a, int b, int cables) {
    const double rate = network.cable_bytes_per_s(a);
    const int from = vertex_of(a), to = vertex_of(b);
    if (!merge) {
      for (int i = 0; i < cables; ++i) edges_.push_back({from, to, 1, 1, rate});
      return;
    }
    const auto [at, is_new] = known.try_emplace({from, to, cables}, edges_.size());
    if (is_new) edges_.push_back({from, to, 0, static_cast<double>(cables), rate});
    edges_[at->second].links += cables;
  };
  for (const Cable& c : network.cables()) {
    if (c.parallel == 0) continue;
    add(c.a, c.b, c.parallel);
    add(c.b, c.a, c.parallel);
  }
}

std::string RoutingGraph::vertex_name(int vertex) const {
  const std::string first = graph_->name(member(vertex));
  const int n = switches_in(vertex);
  return n == 1 ? first : fmt::format("{} and {} more", first, n - 1);
}

std::string RoutingGraph::name(int edge) const {
  const Edge& e = edges_[static_cast<size_t>(edge)];
  return fmt::format("{} to {}", vertex_name(e.from), vertex_name(e.to));
}

/// Of the width of one switch at the edge's start, what leads over this edge.
double RoutingGraph::ways_ahead(const Edge& edge, const Toward& t) const {
  const double switches_ahead = edge.links / edge.parallel / switches_in(edge.from);
  return switches_ahead * std::min(edge.parallel, t.width[static_cast<size_t>(edge.to)]);
}

const RoutingGraph::Toward& RoutingGraph::toward(int to) {
  Toward& t = toward_[static_cast<size_t>(to)];
  if (!t.distance.empty()) return t;
  t.distance.assign(members_.size(), -1);
  t.width.assign(members_.size(), 0);
  t.distance[static_cast<size_t>(to)] = 0;
  t.width[static_cast<size_t>(to)] = std::numeric_limits<double>::infinity();
  std::vector<int> queue = {to};
  // Every edge has its opposite, so the edges out of v also lead into v.
  for (size_t i = 0; i < queue.size(); ++i)
    for (const int e : edges_from(queue[i])) {
      const auto v = static_cast<size_t>(edges_[static_cast<size_t>(e)].to);
      if (t.distance[v] >= 0) continue;
      t.distance[v] = t.distance[static_cast<size_t>(queue[i])] + 1;
      queue.push_back(static_cast<int>(v));
    }
  for (size_t i = 1; i < queue.size(); ++i) {
    const auto v = static_cast<size_t>(queue[i]);
    for (const int e : edges_from(queue[i])) {
      const Edge& edge = edges_[static_cast<size_t>(e)];
      if (t.distance[static_cast<size_t>(edge.to)] == t.distance[v] - 1)
        t.width[v] += ways_ahead(edge, t);
    }
  }
  return t;
}

int RoutingGraph::distance(int from, int to) {
  return toward(to).distance[static_cast<size_t>(from)];
}

std::vector<EdgeShare> RoutingGraph::spread(int from, int to) {
  const Toward& t = toward(to);
  std::vector<EdgeShare> out;
  std::map<int, double> level = {{from, 1.0}};  // vertices at one distance, in a fixed order
  while (level.begin()->first != to) {
    std::map<int, double> next;
    for (const auto& [v, arriving] : level)
      for (const int e : edges_from(v)) {
        const Edge& edge = edges_[static_cast<size_t>(e)];
        const auto ahead = static_cast<size_t>(edge.to);
        if (t.distance[ahead] != t.distance[static_cast<size_t>(v)] - 1) continue;
        const double share = arriving * ways_ahead(edge, t) / t.width[static_cast<size_t>(v)];
        out.push_back({e, share});
        next[edge.to] += share;
      }
    level = std::move(next);
  }
  return out;
}

std::vector<EdgeShare> RoutingGraph::walk(int from, int to,
                                          const std::function<size_t(int, int, size_t)>& choose) {
  const Toward& t = toward(to);
  std::vector<EdgeShare> out;
  std::vector<int> ahead;
  for (int v = from, hop = 0; v != to; ++hop) {
    ahead.clear();
    for (const int e : edges_from(v))
      if (t.distance[static_cast<size_t>(edges_[static_cast<size_t>(e)].to)] ==
          t.distance[static_cast<size_t>(v)] - 1)
        ahead.push_back(e);
    out.push_back({ahead[choose(v, hop, ahead.size())], 1});
    v = edges_[static_cast<size_t>(out.back().edge)].to;
  }
  return out;
}

}  // namespace fathom::net
