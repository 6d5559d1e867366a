// The flow simulator against SimGrid's max-min network model on random networks.
#include <gtest/gtest.h>

#include <simgrid/s4u.hpp>

#include <string>
#include <vector>

#include "base/philox.h"
#include "cluster/net/flow_simulator.h"

namespace fathom::net {
namespace {

namespace sg4 = simgrid::s4u;

constexpr int kLinks = 12, kFlows = 40;

struct Case {
  FlowTable table;
  std::vector<FlowDemand> demands;
};

/// Flows over three of twelve links, one of each four.
Case random_case() {
  const Philox random(7);
  Case c;
  for (uint64_t r = 0; r < kLinks; ++r) c.table.capacity.push_back(1e9 * (1 + random.uniform(r)));
  for (uint64_t f = 0; f < kFlows; ++f) {
    std::vector<Use> uses;
    for (uint64_t k = 0; k < 3; ++k)
      uses.push_back({static_cast<int32_t>(4 * k + random.below(100 + 3 * f + k, 4)), 1.0});
    c.table.add(uses);
    c.demands.push_back({1e8 * (1 + random.uniform(1000 + f)), 0, 0});
  }
  return c;
}

/// SimGrid's end of every flow, in seconds. One engine a process.
std::vector<double> simgrid_ends(const Case& c) {
  static std::vector<double> ends(kFlows);
  int argc = 1;
  char name[] = "simgrid_test";
  char* argv[] = {name, nullptr};
  sg4::Engine engine(&argc, argv);
  engine.set_config("network/model:CM02");
  engine.set_config("network/crosstraffic:0");
  engine.set_config("network/TCP-gamma:0");
  sg4::NetZone* zone = sg4::create_full_zone("zone");
  std::vector<sg4::Link*> links;
  for (int l = 0; l < kLinks; ++l)
    links.push_back(
        zone->create_link("link" + std::to_string(l), c.table.capacity[l])->set_latency(0));
  for (int f = 0; f < kFlows; ++f) {
    sg4::Host* from = zone->create_host("from" + std::to_string(f), 1e9);
    sg4::Host* to = zone->create_host("to" + std::to_string(f), 1e9);
    std::vector<sg4::LinkInRoute> route;
    for (const Use& u : c.table.uses_of(f))
      route.emplace_back(links[static_cast<size_t>(u.resource)]);
    zone->add_route(from->get_netpoint(), to->get_netpoint(), nullptr, nullptr, route, false);
    const auto bytes = static_cast<uint64_t>(c.demands[static_cast<size_t>(f)].bytes);
    sg4::Actor::create("flow", from, [from, to, bytes, f] {
      sg4::Comm::sendto(from, to, bytes);
      ends[static_cast<size_t>(f)] = sg4::Engine::get_clock();
    });
  }
  zone->seal();
  engine.run();
  return ends;
}

TEST(SimGridTest, FlowsEndWithinOnePercent) {
  const Case c = random_case();
  const FlowOutcome ours = run_flows(c.table, c.demands);
  const std::vector<double> theirs = simgrid_ends(c);
  for (size_t f = 0; f < kFlows; ++f)
    EXPECT_NEAR(static_cast<double>(ours.end[f]) / kPicosecondsPerSecond / theirs[f], 1, 0.01) << f;
}

}  // namespace
}  // namespace fathom::net
