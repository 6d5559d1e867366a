#include "cluster/net/max_min.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/philox.h"
#include "cluster/net/flow_simulator.h"

namespace fathom::net {
namespace {

std::vector<double> rates_of(const FlowTable& table) {
  std::vector<double> rates(static_cast<size_t>(table.flows()));
  MaxMin(table).solve(std::vector<uint8_t>(rates.size(), 1), rates);
  return rates;
}

TEST(MaxMinTest, TextbookLineOfThreeLinks) {
  // One flow over all links, one on each; capacities 1, 2, 1: the long one gets a half.
  FlowTable t;
  t.capacity = {1, 2, 1};
  t.add(std::vector<Use>{{0, 1}, {1, 1}, {2, 1}});
  for (int r = 0; r < 3; ++r) t.add(std::vector<Use>{{r, 1}});
  const auto rates = rates_of(t);
  EXPECT_DOUBLE_EQ(rates[0], 0.5);
  EXPECT_DOUBLE_EQ(rates[1], 0.5);
  EXPECT_DOUBLE_EQ(rates[2], 1.5);
  EXPECT_DOUBLE_EQ(rates[3], 0.5);
}

TEST(MaxMinTest, SharesAndWeights) {
  // Shares 1 and 3 of one link; the second flow takes it twice for each byte.
  FlowTable t;
  t.capacity = {7};
  t.add(std::vector<Use>{{0, 1}}, 1);
  t.add(std::vector<Use>{{0, 2}}, 3);
  const auto rates = rates_of(t);
  EXPECT_DOUBLE_EQ(rates[0], 1);
  EXPECT_DOUBLE_EQ(rates[1], 3);
}

TEST(MaxMinTest, NoResourceNoLimit) {
  FlowTable t;
  t.add({});
  EXPECT_TRUE(std::isinf(rates_of(t)[0]));
}

// The definition: every flow has a full resource on which no flow is faster.
TEST(MaxMinTest, EveryFlowHasItsBottleneck) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Philox random(seed);
    FlowTable t;
    for (uint64_t r = 0; r < 12; ++r) t.capacity.push_back(1 + random.uniform(r));
    for (uint64_t f = 0; f < 60; ++f) {
      std::vector<Use> uses;
      for (uint64_t k = 0; k < 3; ++k)
        uses.push_back({static_cast<int32_t>(4 * k + random.below(1000 + 3 * f + k, 4)),
                        0.5 + random.uniform(2000 + 3 * f + k)});
      t.add(uses);
    }
    const auto rates = rates_of(t);
    std::vector<double> used(12), fastest(12);
    for (int64_t f = 0; f < 60; ++f)
      for (const Use& u : t.uses_of(f)) {
        used[static_cast<size_t>(u.resource)] += u.weight * rates[static_cast<size_t>(f)];
        fastest[static_cast<size_t>(u.resource)] =
            std::max(fastest[static_cast<size_t>(u.resource)], rates[static_cast<size_t>(f)]);
      }
    for (size_t r = 0; r < 12; ++r) EXPECT_LE(used[r], t.capacity[r] * (1 + 1e-9));
    for (int64_t f = 0; f < 60; ++f) {
      bool bottleneck = false;
      for (const Use& u : t.uses_of(f)) {
        const auto r = static_cast<size_t>(u.resource);
        bottleneck |= used[r] > t.capacity[r] * (1 - 1e-9) &&
                      rates[static_cast<size_t>(f)] > fastest[r] * (1 - 1e-9);
      }
      EXPECT_TRUE(bottleneck) << "seed " << seed << " flow " << f;
    }
  }
}

TEST(FlowSimulatorTest, FreedCapacityIsSharedAnew) {
  // Two flows of 100 and 300 bytes on 100 B/s: both at 50, then the second alone.
  FlowTable t;
  t.capacity = {100};
  t.add(std::vector<Use>{{0, 1}});
  t.add(std::vector<Use>{{0, 1}});
  const FlowOutcome o = run_flows(t, {{100, 0, 7}, {300, 0, 0}});
  EXPECT_EQ(o.end[0], 2'000'000'000'007);
  EXPECT_EQ(o.end[1], 4'000'000'000'000);
  EXPECT_EQ(o.steps, 2);
  EXPECT_DOUBLE_EQ(o.resource_bytes[0], 400);
}

TEST(FlowSimulatorTest, LateStartsAndEmptyFlows) {
  FlowTable t;
  t.capacity = {100};
  for (int i = 0; i < 3; ++i) t.add(std::vector<Use>{{0, 1}});
  const Picoseconds s = 1'000'000'000'000;
  const FlowOutcome o = run_flows(t, {{200, 0, 0}, {100, s, 0}, {0, 5 * s, 3}});
  EXPECT_EQ(o.end[0], 3 * s);  // 1 s alone, 2 s at half
  EXPECT_EQ(o.end[1], 3 * s);
  EXPECT_EQ(o.end[2], 5 * s + 3);
}

TEST(FlowSimulatorTest, AResolutionOnlyDelaysReallocation) {
  FlowTable t;
  t.capacity = {100};
  t.add(std::vector<Use>{{0, 1}});
  t.add(std::vector<Use>{{0, 1}});
  const Picoseconds s = 1'000'000'000'000;
  const FlowOutcome o = run_flows(t, {{100, 0, 0}, {300, 0, 0}}, {.resolution = 3 * s});
  EXPECT_EQ(o.end[0], 2 * s);              // at its own time
  EXPECT_EQ(o.end[1], 3 * s + 3 * s / 2);  // 150 bytes by 3 s, then 150 at full rate
}

}  // namespace
}  // namespace fathom::net
