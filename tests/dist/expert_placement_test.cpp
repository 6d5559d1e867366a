#include "dist/expert_placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/philox.h"

namespace fathom::dist {
namespace {

const LayerLoads kPublished = {{90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86},
                               {20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27}};
constexpr PlacementShape kPublishedShape{.replicas = 16, .gpus = 8, .nodes = 2, .groups = 4};

// The worked example of EPLB (spec G.3).
TEST(PlaceExperts, EqualsThePublishedExample) {
  const ExpertPlacement p = place_experts(kPublished, kPublishedShape);
  EXPECT_TRUE(p.hierarchical);
  ASSERT_EQ(p.layers.size(), 2u);
  EXPECT_EQ(p.layers[0].phy2log,
            (std::vector<int>{5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1}));
  EXPECT_EQ(p.layers[1].phy2log,
            (std::vector<int>{7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1}));
  EXPECT_EQ(p.layers[0].logcnt, (std::vector<int>{1, 2, 1, 1, 2, 2, 1, 1, 1, 1, 2, 1}));
  EXPECT_EQ(p.layers[0].log2phy[0], (std::vector<int>{12, -1}));
  EXPECT_EQ(p.layers[0].log2phy[7], (std::vector<int>{3, -1}));
}

/// Loads with a few hot experts, as routers without balancing give them.
LayerLoads skewed_loads(uint64_t seed, int layers, int experts) {
  LayerLoads loads(static_cast<size_t>(layers), std::vector<double>(static_cast<size_t>(experts)));
  uint64_t index = 0;
  for (auto& layer : loads)
    for (double& load : layer) {
      const double u = Philox(seed).uniform(index++);
      load = std::floor(1000 * u * u * u * u);
    }
  return loads;
}

int most_copies(const ExpertPlacement& p) {
  int most = 0;
  for (const LayerPlacement& layer : p.layers)
    most = std::max(most, *std::max_element(layer.logcnt.begin(), layer.logcnt.end()));
  return most;
}

/// What every placement must be: each expert at least once, the three maps saying the same.
void expect_consistent(const ExpertPlacement& p, size_t experts, const PlacementShape& shape) {
  const auto width = static_cast<size_t>(most_copies(p));
  for (const LayerPlacement& layer : p.layers) {
    ASSERT_EQ(layer.phy2log.size(), static_cast<size_t>(shape.replicas));
    ASSERT_EQ(layer.logcnt.size(), experts);
    EXPECT_EQ(std::accumulate(layer.logcnt.begin(), layer.logcnt.end(), 0), shape.replicas);
    for (size_t e = 0; e < experts; ++e) {
      EXPECT_GE(layer.logcnt[e], 1);
      ASSERT_EQ(layer.log2phy[e].size(), width);
      for (size_t copy = 0; copy < width; ++copy) {
        const int slot = layer.log2phy[e][copy];
        EXPECT_EQ(slot >= 0, copy < static_cast<size_t>(layer.logcnt[e]));
        if (slot >= 0) {
          EXPECT_EQ(layer.phy2log[static_cast<size_t>(slot)], static_cast<int>(e));
        }
      }
    }
  }
}

/// A group's experts are on one node, and each node has groups / nodes of them.
void expect_groups_stay_together(const LayerPlacement& layer, size_t experts,
                                 const PlacementShape& s) {
  const size_t per_group = experts / static_cast<size_t>(s.groups);
  const size_t per_node = layer.phy2log.size() / static_cast<size_t>(s.nodes);
  std::vector<std::set<size_t>> groups_of(static_cast<size_t>(s.nodes));
  for (size_t slot = 0; slot < layer.phy2log.size(); ++slot)
    groups_of[slot / per_node].insert(static_cast<size_t>(layer.phy2log[slot]) / per_group);
  for (const auto& groups : groups_of)
    EXPECT_EQ(groups.size(), static_cast<size_t>(s.groups / s.nodes));
}

TEST(PlaceExperts, KeepsItsPromisesForManyShapes) {
  const PlacementShape shapes[] = {{.replicas = 64, .gpus = 64},
                                   {.replicas = 96, .gpus = 32, .nodes = 4, .groups = 8},
                                   {.replicas = 72, .gpus = 8, .nodes = 1, .groups = 8},
                                   {.replicas = 64, .gpus = 16, .nodes = 8, .groups = 8},
                                   {.replicas = 80, .gpus = 40, .nodes = 5, .groups = 8},
                                   {.replicas = 1024, .gpus = 2, .nodes = 2, .groups = 2}};
  for (uint64_t seed = 0; seed < 20; ++seed)
    for (const PlacementShape& shape : shapes) {
      const LayerLoads loads = skewed_loads(seed, 3, 64);
      const ExpertPlacement p = place_experts(loads, shape);
      EXPECT_EQ(p.hierarchical, shape.groups % shape.nodes == 0);
      expect_consistent(p, 64, shape);
      if (p.hierarchical)
        for (const auto& layer : p.layers) expect_groups_stay_together(layer, 64, shape);
    }
}

// 256 experts with 32 redundant ones on 32 GPUs, the published prefill unit.
TEST(PlaceExperts, BalancesSkewedLoads) {
  const LayerLoads loads = skewed_loads(7, 4, 256);
  const PlacementShape global{.replicas = 288, .gpus = 32};
  const PlacementShape hierarchical{.replicas = 288, .gpus = 32, .nodes = 4, .groups = 8};
  const ExpertPlacement flat = place_experts(loads, global);
  const ExpertPlacement by_node = place_experts(loads, hierarchical);
  for (size_t layer = 0; layer < loads.size(); ++layer) {
    const double before = imbalance(gpu_loads_in_order(loads[layer], 32));
    EXPECT_LT(imbalance(gpu_loads(loads[layer], flat.layers[layer], 32)), 1.02);
    EXPECT_LT(imbalance(gpu_loads(loads[layer], by_node.layers[layer], 32)), before);
  }
}

TEST(PlaceExperts, ConservesTheLoad) {
  const LayerLoads loads = skewed_loads(3, 1, 64);
  const ExpertPlacement p = place_experts(loads, {.replicas = 96, .gpus = 32});
  const double sum = std::accumulate(loads[0].begin(), loads[0].end(), 0.0);
  for (const std::vector<double>& on :
       {gpu_loads(loads[0], p.layers[0], 32), gpu_loads_in_order(loads[0], 32),
        gpu_loads_in_order(loads[0], 100), node_loads(gpu_loads(loads[0], p.layers[0], 32), 4)})
    // 96 shares of integers: each division rounds once.
    EXPECT_NEAR(std::accumulate(on.begin(), on.end(), 0.0), sum, 96 * 0x1p-52 * sum);
}

TEST(PlaceExperts, EqualLoadsAreBalancedExactly) {
  const LayerLoads loads(1, std::vector<double>(64, 5.0));
  const ExpertPlacement p = place_experts(loads, {.replicas = 128, .gpus = 16});
  EXPECT_EQ(imbalance(gpu_loads(loads[0], p.layers[0], 16)), 1);
  EXPECT_EQ(p.layers[0].logcnt, std::vector<int>(64, 2));
}

TEST(PlaceExperts, WorksWithoutAnyLoad) {
  const LayerLoads loads(1, std::vector<double>(8, 0.0));
  const PlacementShape shape{.replicas = 16, .gpus = 4};
  const ExpertPlacement p = place_experts(loads, shape);
  expect_consistent(p, 8, shape);
  EXPECT_EQ(imbalance(gpu_loads(loads[0], p.layers[0], 4)), 1);
}

std::string refusal(const LayerLoads& loads, const PlacementShape& shape) {
  try {
    place_experts(loads, shape);
  } catch (const Error& e) {
    return std::string(e.what()) + " | " + e.hint();
  }
  return "accepted";
}

TEST(PlaceExperts, RefusesImpossibleShapesWithTheNearestPossible) {
  const LayerLoads loads(1, std::vector<double>(12, 1.0));
  EXPECT_EQ(refusal(loads, {.replicas = 15, .gpus = 8}),
            "12 experts in 15 replicas on 8 GPUs: not the same number on each GPU | the nearest "
            "valid choice: 16 replicas");
  EXPECT_EQ(refusal(loads, {.replicas = 8, .gpus = 8}),
            "12 experts in 8 replicas on 8 GPUs: not every expert has a place | the nearest valid "
            "choice: 16 replicas");
  EXPECT_EQ(refusal(loads, {.replicas = 16, .gpus = 8, .nodes = 3, .groups = 4}),
            "3 nodes do not divide 8 GPUs | the nearest valid choice: 2 nodes");
  EXPECT_EQ(refusal(loads, {.replicas = 16, .gpus = 8, .nodes = 2, .groups = 5}),
            "5 groups do not divide 12 experts | the nearest valid choice: 4 groups");
  EXPECT_EQ(refusal(loads, {.replicas = 16, .gpus = 0}),
            "0 GPUs are not between 1 and 65536 | the nearest valid choice: 1");
  EXPECT_EQ(refusal(loads, {.replicas = 1 << 20, .gpus = 8}),
            "1048576 replicas are not between 1 and 65536 | the nearest valid choice: 65536");
}

TEST(PlaceExperts, RefusesImpossibleLoads) {
  const PlacementShape shape{.replicas = 4, .gpus = 2};
  EXPECT_NE(refusal({}, shape), "accepted");
  EXPECT_NE(refusal({{}}, shape), "accepted");
  EXPECT_NE(refusal({{1, 2}, {1}}, shape), "accepted");
  EXPECT_NE(refusal({{1, -2}}, shape), "accepted");
  EXPECT_NE(refusal({{1, NAN}}, shape), "accepted");
  EXPECT_NE(refusal({{1, INFINITY}}, shape), "accepted");
}

}  // namespace
}  // namespace fathom::dist
