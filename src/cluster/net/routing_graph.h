#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cluster/net/network.h"

namespace fathom::net {

/// One direction between two vertices of the routing graph: `links` equal cables, `parallel` of
/// them between any two switches that they join.
struct Edge {
  int from, to;
  double links, parallel;
  double bytes_per_s;  ///< of one cable
};

struct EdgeShare {
  int edge;
  double share;  ///< of the traffic, over all of the edge's cables
};

/// The surviving switches as packets see them, and the shortest paths between them.
///
/// With `merge`, a vertex is a class of switches that spread traffic loads equally: the coarsest
/// partition in which every switch with endpoints is alone and all members of a class have equal
/// cables into every class. From a lone switch outwards distances, widths and arriving traffic are
/// then equal within each class, by induction over the hops, so the merged loads are exact.
/// Without it, every cable is an edge of its own.
class RoutingGraph {
 public:
  RoutingGraph(const Network& network, bool merge);

  std::span<const Edge> edges() const { return edges_; }
  /// What an edge is, for people: "plane0.leaf3 to plane0.spine1".
  std::string name(int edge) const;
  /// "plane0.leaf3"; "spine0 and 31 more" of a class.
  std::string vertex_name(int vertex) const;
  int vertex_of(int switch_id) const { return vertex_of_[static_cast<size_t>(switch_id)]; }
  int switches_in(int vertex) const {
    return static_cast<int>(members_[static_cast<size_t>(vertex)].size());
  }
  /// A switch of the vertex.
  int member(int vertex) const { return members_[static_cast<size_t>(vertex)][0]; }

  /// Switch-to-switch hops between vertices, -1 when no path is left.
  int distance(int from, int to);
  /// Traffic spread over all shortest paths, at each switch in proportion to what the ways ahead
  /// can carry. from != to, and a path exists.
  std::vector<EdgeShare> spread(int from, int to);
  /// One shortest path: choose(vertex, hop, n) picks one of the n edges ahead.
  std::vector<EdgeShare> walk(int from, int to,
                              const std::function<size_t(int, int, size_t)>& choose);

 private:
  /// Toward one destination: hops left and how many cables' worth can flow, of a switch of each
  /// vertex.
  struct Toward {
    std::vector<int> distance;
    std::vector<double> width;
  };
  const Toward& toward(int to);
  void add_edges(const Network& network, bool merge);
  double ways_ahead(const Edge& edge, const Toward& t) const;
  std::span<const int> edges_from(int vertex) const { return out_[static_cast<size_t>(vertex)]; }

  const SwitchGraph* graph_;
  std::vector<int> vertex_of_;
  std::vector<std::vector<int>> members_;
  std::vector<Edge> edges_;
  std::vector<std::vector<int>> out_;
  std::vector<Toward> toward_;  // by destination, computed when first asked for
};

}  // namespace fathom::net
