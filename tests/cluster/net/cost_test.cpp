#include "cluster/net/cost.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cluster/net/hardware.h"

namespace fathom::net {
namespace {

// ISCA Table 3: counts exactly, costs within 3% from one price list.
TEST(CostTest, PublishedComparison) {
  struct Column {
    int64_t endpoints, switches, links;
    double million_usd;
  };
  constexpr Column kPublished[] = {{2048, 96, 2048, 9},
                                   {16384, 768, 16384, 72},
                                   {65536, 5120, 131072, 491},
                                   {32928, 1568, 32928, 146},
                                   {261632, 16352, 384272, 1522}};
  const Prices prices = prices_of(cluster::Catalogue::built_in());
  size_t i = 0;
  for (const NamedTopology& t : isca_table_3()) {
    const TopologySize size = size_of(t.spec);
    const Column& want = kPublished[i++];
    EXPECT_EQ(size.endpoints, want.endpoints) << t.name;
    EXPECT_EQ(size.switches, want.switches) << t.name;
    EXPECT_EQ(size.links, want.links) << t.name;
    const double million = cost_of(size, t.spec.radix, prices).total() / 1e6;
    EXPECT_NEAR(million / want.million_usd, 1, 0.03) << t.name;
  }
}

TEST(CostTest, RefusesNegativePrices) {
  EXPECT_THROW(cost_of({}, 64, {.switch_port_usd = -1}), Error);
}

}  // namespace
}  // namespace fathom::net
