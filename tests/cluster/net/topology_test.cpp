#include "cluster/net/topology.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "cluster/net/galois_field.h"
#include "cluster/net/switch_graph.h"

namespace fathom::net {
namespace {

std::vector<std::vector<int>> neighbours(const SwitchGraph& g) {
  std::vector<std::vector<int>> out(g.switches.size());
  for (const Cable& c : g.cables) {
    out[static_cast<size_t>(c.a)].insert(out[static_cast<size_t>(c.a)].end(), c.parallel, c.b);
    out[static_cast<size_t>(c.b)].insert(out[static_cast<size_t>(c.b)].end(), c.parallel, c.a);
  }
  return out;
}

int farthest_leaf(const SwitchGraph& g, const std::vector<std::vector<int>>& next, int from) {
  std::vector<int> distance(next.size(), -1), queue = {from};
  distance[static_cast<size_t>(from)] = 0;
  for (size_t i = 0; i < queue.size(); ++i)
    for (const int v : next[static_cast<size_t>(queue[i])])
      if (distance[static_cast<size_t>(v)] < 0) {
        distance[static_cast<size_t>(v)] = distance[static_cast<size_t>(queue[i])] + 1;
        queue.push_back(v);
      }
  int farthest = 0;
  for (size_t s = 0; s < next.size(); ++s)
    if (g.switches[s].endpoint_ports > 0) farthest = std::max(farthest, distance[s]);
  return farthest;
}

// The closed formulas against the graph itself.
void expect_graph_matches(const TopologySpec& spec) {
  const SwitchGraph g = build_switches(spec);
  const TopologySize size = size_of(spec);
  SCOPED_TRACE(std::string(name_of(spec.kind)) + " radix " + std::to_string(spec.radix));
  EXPECT_EQ(static_cast<int64_t>(g.switches.size()), size.switches);
  int64_t links = 0, ports = 0;
  for (const Cable& c : g.cables) links += c.parallel;
  for (const Switch& s : g.switches) ports += s.endpoint_ports;
  EXPECT_EQ(links, size.links);
  EXPECT_EQ(ports, size.endpoints);
  const auto next = neighbours(g);
  for (size_t s = 0; s < next.size(); ++s)
    EXPECT_LE(static_cast<int64_t>(next[s].size()) + g.switches[s].endpoint_ports, spec.radix);
  if (spec.kind == TopologyKind::kMultiPlane) return;
  const int farthest = farthest_leaf(g, next, g.leaves[0][0]);
  EXPECT_LE(farthest, size.diameter);
  if (spec.groups == 0) {
    EXPECT_EQ(farthest, size.diameter);
  }
}

TEST(TopologyTest, FormulasCountTheGraph) {
  for (const int64_t radix : {4, 8, 16}) {
    expect_graph_matches({.kind = TopologyKind::kFatTree2, .radix = radix});
    expect_graph_matches({.kind = TopologyKind::kFatTree3, .radix = radix});
    expect_graph_matches({.kind = TopologyKind::kMultiPlane, .radix = radix, .planes = 3});
    expect_graph_matches({.kind = TopologyKind::kMultiRail, .radix = radix});
  }
  expect_graph_matches({.kind = TopologyKind::kFatTree2, .radix = 16, .endpoints = 24});
  expect_graph_matches({.kind = TopologyKind::kFatTree3, .radix = 8, .endpoints = 48});
}

TEST(TopologyTest, SlimFliesOfEveryResidueHaveDiameterTwo) {
  // q = 5, 7, 8, 9, 11: 4w + 1, 4w - 1, 4w, a square, and one more 4w - 1.
  for (const auto& [radix, q] : {std::pair{11, 5}, {17, 7}, {18, 8}, {20, 9}, {26, 11}}) {
    EXPECT_EQ(slim_fly_shape(radix, true).q, q);
    expect_graph_matches({.kind = TopologyKind::kSlimFly, .radix = radix});
  }
}

TEST(TopologyTest, DragonfliesUseEveryGlobalPort) {
  for (const int64_t groups : {0, 8, 7, 5, 2})
    expect_graph_matches({.kind = TopologyKind::kDragonfly, .radix = 7, .groups = groups});
  expect_graph_matches({.kind = TopologyKind::kDragonfly, .radix = 11});
}

// The second eigenvalue by power iteration on A^2 shifted: bisection's q^3/2 rests on degree - q.
TEST(TopologyTest, SlimFlySpectralGapIsQ) {
  for (const auto& [radix, q] : {std::pair{11, 5}, {17, 7}, {18, 8}, {20, 9}}) {
    const SlimFlyShape s = slim_fly_shape(radix, true);
    const auto next = neighbours(build_switches({.kind = TopologyKind::kSlimFly, .radix = radix}));
    const size_t n = next.size();
    std::vector<double> x(n), y(n);
    for (size_t i = 0; i < n; ++i) x[i] = std::sin(static_cast<double>(i * i + 1));
    double eigenvalue = 0;
    for (int iteration = 0; iteration < 400; ++iteration) {
      double mean = 0, norm = 0;
      for (const double v : x) mean += v / static_cast<double>(n);
      for (double& v : x) v -= mean;  // out goes the eigenvector of the degree
      for (const double v : x) norm += v * v;
      for (double& v : x) v /= std::sqrt(norm);
      for (size_t i = 0; i < n; ++i) {  // A + degree: no eigenvalue is negative
        y[i] = static_cast<double>(s.degree) * x[i];
        for (const int j : next[i]) y[i] += x[static_cast<size_t>(j)];
      }
      eigenvalue = 0;
      for (size_t i = 0; i < n; ++i) eigenvalue += x[i] * y[i];
      x = y;
    }
    EXPECT_NEAR(static_cast<double>(2 * s.degree) - eigenvalue, q, 1e-3);
  }
}

TEST(TopologyTest, FieldsAreFields) {
  for (const int q : {4, 5, 8, 9, 27}) {
    const GaloisField f(q);
    for (int a = 1; a < q; ++a) {
      EXPECT_EQ(f.multiply(a, 1), a);
      EXPECT_EQ(f.add(a, f.negate(a)), 0);
      for (int b = 0; b < q; ++b) EXPECT_EQ(f.multiply(a, f.add(b, 1)), f.add(f.multiply(a, b), a));
    }
  }
}

std::string hint_of(const TopologySpec& spec) {
  try {
    size_of(spec);
  } catch (const Error& e) {
    return e.hint();
  }
  return "no error";
}

TEST(TopologyTest, ErrorsNameTheNearestValidChoice) {
  EXPECT_EQ(hint_of({.radix = 63}), "the nearest are 62 and 64");
  EXPECT_EQ(hint_of({.radix = 64, .endpoints = 2049}), "at most 2048, or radix 66");
  EXPECT_EQ(hint_of({.kind = TopologyKind::kMultiPlane, .planes = 8, .endpoints = 100}),
            "the nearest are 96 and 104");
  EXPECT_EQ(hint_of({.kind = TopologyKind::kDragonfly, .groups = 600}), "the nearest is 513");
}

}  // namespace
}  // namespace fathom::net
