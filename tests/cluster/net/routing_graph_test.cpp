#include "cluster/net/routing_graph.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/error.h"

namespace fathom::net {
namespace {

NetworkSpec network_of(TopologyKind kind, int64_t radix, int64_t nodes, int64_t nics) {
  NetworkSpec s;
  s.topology.kind = kind;
  s.topology.radix = radix;
  s.topology.planes = kind == TopologyKind::kMultiPlane ? nics : 1;
  s.nodes = nodes;
  s.node.gpus = s.node.nics = nics;
  return s;
}

/// Loads of the cables out of each switch, for traffic between all leaves of plane 0.
std::multimap<std::string, double> loads_of(const Network& network, bool merge) {
  RoutingGraph g(network, merge);
  std::vector<double> load(g.edges().size());
  const auto& leaves = network.graph().leaves[0];
  for (const int a : leaves)
    for (const int b : leaves)
      if (a != b && g.distance(g.vertex_of(a), g.vertex_of(b)) > 0)
        for (const EdgeShare& e : g.spread(g.vertex_of(a), g.vertex_of(b)))
          load[static_cast<size_t>(e.edge)] +=
              e.share / g.edges()[static_cast<size_t>(e.edge)].links;
  std::multimap<std::string, double> out;
  for (size_t e = 0; e < load.size(); ++e)
    for (int i = 0; i < static_cast<int>(g.edges()[e].links); ++i)
      out.emplace(std::to_string(std::lround(load[e] * 1e9)), load[e]);
  return out;
}

void expect_merging_is_exact(const NetworkSpec& spec, const std::vector<std::string>& failures) {
  const Network network(spec, failures);
  const auto merged = loads_of(network, true), single = loads_of(network, false);
  ASSERT_EQ(merged.size(), single.size());
  for (auto a = merged.begin(), b = single.begin(); a != merged.end(); ++a, ++b)
    EXPECT_EQ(a->first, b->first);
}

TEST(RoutingGraphTest, MergedSwitchesCarryTheSameLoads) {
  expect_merging_is_exact(network_of(TopologyKind::kFatTree2, 8, 8, 4), {});
  expect_merging_is_exact(network_of(TopologyKind::kFatTree2, 16, 8, 4), {});
  expect_merging_is_exact(network_of(TopologyKind::kFatTree3, 8, 32, 4), {});
  expect_merging_is_exact(network_of(TopologyKind::kFatTree3, 8, 12, 4), {});
  expect_merging_is_exact(network_of(TopologyKind::kDragonfly, 7, 8, 4), {});
  // A failure breaks the symmetry of what it touches.
  expect_merging_is_exact(network_of(TopologyKind::kFatTree2, 8, 8, 4), {"link:leaf0-spine1"});
  expect_merging_is_exact(network_of(TopologyKind::kFatTree3, 8, 32, 4),
                          {"link:agg0-core1", "switch:agg5", "link:leaf9-agg10"});
}

TEST(RoutingGraphTest, MergingShrinksAFatTree) {
  const Network network(network_of(TopologyKind::kFatTree3, 16, 128, 8), {});
  RoutingGraph g(network, true);
  const int a = g.vertex_of(0), b = g.vertex_of(127);
  EXPECT_EQ(g.distance(a, b), 4);
  EXPECT_EQ(g.spread(a, b).size(), 4u);  // one class of aggregation a pod, one of cores
}

TEST(RoutingGraphTest, FailuresDetourOrDisconnect) {
  const Network network(network_of(TopologyKind::kFatTree2, 4, 4, 2),
                        {"link:leaf0-spine0", "link:leaf1-spine1"});
  RoutingGraph g(network, true);
  EXPECT_EQ(g.distance(g.vertex_of(0), g.vertex_of(1)), 4);  // over another leaf
  const Network cut(network_of(TopologyKind::kFatTree2, 4, 4, 2),
                    {"switch:spine0", "switch:spine1"});
  RoutingGraph none(cut, true);
  EXPECT_EQ(none.distance(none.vertex_of(0), none.vertex_of(1)), -1);
}

std::string error_of(const NetworkSpec& spec, const std::vector<std::string>& failures) {
  try {
    Network(spec, failures);
  } catch (const Error& e) {
    return std::string(e.what()) + "; " + e.hint();
  }
  return "no error";
}

TEST(NetworkTest, ErrorsNameValuesAndTheNearestValidChoice) {
  const NetworkSpec tree = network_of(TopologyKind::kFatTree2, 8, 8, 4);
  EXPECT_EQ(error_of(tree, {"switch:spine9"}),
            "failure 'switch:spine9': there is no switch 'spine9'; the nearest is 'spine3'");
  EXPECT_EQ(error_of(tree, {"nic:8.0"}),
            "failure 'nic:8.0': there is no node '8'; they are 0 to 7");
  EXPECT_EQ(error_of(tree, {"plane:0"}), "failure 'plane:0': there is no plane '0'; it has none");
  EXPECT_EQ(error_of(network_of(TopologyKind::kFatTree2, 8, 9, 4), {}),
            "36 endpoints: a two-layer fat tree of 8-port switches has 32 ports for them; at most "
            "32, or radix 10");
  NetworkSpec odd = tree;
  odd.node.nics = 3;
  EXPECT_EQ(error_of(odd, {}),
            "4 GPUs and 3 NICs a node: neither divides the other; the nearest is 4 NICs");
}

}  // namespace
}  // namespace fathom::net
