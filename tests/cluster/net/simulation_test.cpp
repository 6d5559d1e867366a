#include "cluster/net/simulation.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace fathom::net {
namespace {

/// Times without latencies are bytes over capacity, exactly (to the picosecond's rounding).
constexpr const char* kNoLatency =
    "[latency]\nmessage_us = 0\nhop_us = 0\nnvlink_us = 0\n"
    "[fabric]\nefficiency = 1\nradix = 8\n";

SimulationResult run(const std::string& toml) {
  return simulate(parse_scenario(kNoLatency + toml, "test"));
}

// NICs of 50 GB/s: 400 MB to the next node take 8 ms on any non-blocking fat tree.
TEST(SimulationTest, PermutationsRunAtFullRate) {
  for (const char* topology : {"fat-tree-2", "fat-tree-3", "multi-plane", "multi-rail"})
    for (const int shift : {1, 3, 4}) {
      const std::string planes =
          topology == std::string("multi-plane") ? "fabric.planes = 4\n" : "";
      const SimulationResult r = simulate(parse_scenario(
          "fabric.radix = 8\nfabric.efficiency = 1\nlatency.message_us = 0\nlatency.hop_us = 0\n"
          "latency.nvlink_us = 0\nnode.gpus = 4\nnode.nics = 4\ncluster.nodes = 8\n"
          "fabric.topology = \"" +
              std::string(topology) + "\"\n" + planes +
              "[[job]]\nkind = \"permutation\"\nbytes = 400_000_000\nshift = " +
              std::to_string(shift),
          "test"));
      EXPECT_NEAR(static_cast<double>(r.end), 8e9, 2) << topology << " shift " << shift;
    }
}

// Each of 2 nodes of 2 GPUs sends 3/4 of 400 MB away, half of it over its NICs: 200 MB at 50 GB/s.
TEST(SimulationTest, AllToAllOnOneSwitch) {
  const SimulationResult r =
      run("[node]\ngpus = 2\nnics = 2\n[cluster]\nnodes = 2\n"
          "[[job]]\nkind = \"all-to-all\"\nbytes = 400_000_000\n");
  EXPECT_NEAR(static_cast<double>(r.end), 4e9, 2);
  EXPECT_NEAR(r.jobs[0].seconds() / r.jobs[0].bound.seconds, 1, 1e-9);
}

// One server's NIC feeds three clients: three times 100 MB at 50 GB/s.
TEST(SimulationTest, StorageIsAnIncast) {
  const SimulationResult r =
      run("[node]\ngpus = 1\nnics = 1\n[cluster]\nnodes = 4\n"
          "[[job]]\nkind = \"storage\"\nbytes = 100_000_000\nservers = 1\n");
  EXPECT_NEAR(static_cast<double>(r.end), 6e9, 2);
}

Scenario planes(const std::string& extra) {
  return parse_scenario(
      "cluster.nodes = 16\nfabric.topology = \"multi-plane\"\nfabric.planes = 8\n" + extra +
          "\n[[job]]\nkind = \"all-to-all\"\nbytes = \"1GiB\"",
      "test");
}

// 7 of 8 planes carry everything: 8/7 of the time, with ports in all planes or with forwarding.
TEST(SimulationTest, OnePlaneOfEightCostsAnEighth) {
  const double whole = simulate(planes("node.nic_ports = 8")).jobs[0].seconds();
  const double ports =
      simulate(planes("node.nic_ports = 8\nfailures = [\"plane:3\"]")).jobs[0].seconds();
  const double forwarded = simulate(planes("failures = [\"plane:3\"]")).jobs[0].seconds();
  EXPECT_NEAR(ports / whole, 8.0 / 7, 1e-3);
  EXPECT_NEAR(forwarded / whole, 8.0 / 7, 1e-3);
  EXPECT_THROW(simulate(planes("node.pxn = false\nfailures = [\"plane:3\"]")), Error);
}

TEST(SimulationTest, MultiPlaneEqualsMultiRail) {
  for (const int nodes : {4, 8, 16}) {
    const std::string tail = "\ncluster.nodes = " + std::to_string(nodes) +
                             "\n[[job]]\nkind = \"all-to-all\"\nbytes = \"1GiB\"";
    const double plane = simulate(parse_scenario("fabric.topology = \"multi-plane\"\n"
                                                 "fabric.planes = 8" +
                                                     tail,
                                                 "test"))
                             .jobs[0]
                             .seconds();
    const double rail = simulate(parse_scenario("fabric.topology = \"multi-rail\"" + tail, "test"))
                            .jobs[0]
                            .seconds();
    EXPECT_NEAR(plane / rail, 1, 0.015);
  }
}

// ISCA Fig 7 and DeepEP's table: GB/s dispatch, combine. NVLink as its EP 8 row reaches: 153.
TEST(SimulationTest, DeepEpBandwidths) {
  struct Published {
    int nodes;
    double dispatch, combine;
  };
  for (const Published& p :
       {Published{2, 43.05, 42.47}, {4, 58.02, 56.96}, {8, 50.58, 48.54}, {16, 45.34, 41.6}})
    for (const char* kind : {"dispatch", "combine"}) {
      const SimulationResult r = simulate(parse_scenario(
          "fabric.topology = \"multi-plane\"\nfabric.planes = 8\nnode.nvlink_gb_s = 153\n"
          "cluster.nodes = " +
              std::to_string(p.nodes) + "\n[[job]]\nkind = \"" + kind + "\"",
          "test"));
      const double want = kind == std::string("dispatch") ? p.dispatch : p.combine;
      EXPECT_NEAR(r.jobs[0].algorithm_gb_s() / want, 1, 0.15) << kind << " " << p.nodes;
    }
}

TEST(SimulationTest, NodeLimitCutsCrossings) {
  Job job;
  job.kind = JobKind::kDispatch;
  job.routing.even = true;
  EXPECT_DOUBLE_EQ(expected_copies(job.routing, 16, 8).nodes, 4);  // M
  job.routing.deduplicate = false;
  EXPECT_DOUBLE_EQ(expected_copies(job.routing, 16, 8).nodes, 8);  // one an expert
}

std::string error_of(const std::string& toml) {
  try {
    run(toml);
  } catch (const Error& e) {
    return std::string(e.what()) + "; " + e.hint();
  }
  return "no error";
}

TEST(SimulationTest, RefusesWhatDoesNotMatterOrIsUnknown) {
  const std::string job = "[cluster]\nnodes = 2\n[[job]]\nkind = \"all-to-all\"\nbytes = 1\n";
  EXPECT_EQ(error_of("[routing]\nseed = 1\n" + job),
            "test: routing.seed does not influence this result: it has influence only with routing "
            "policy ecmp; leave it out");
  EXPECT_EQ(
      error_of("[routing]\npolicy = \"adaptve\"\n" + job),
      "test: routing.policy = 'adaptve': must be one of adaptive, ecmp, static; the nearest is "
      "adaptive");
}

TEST(SimulationTest, TheH800IsTheDefault) {
  const std::string tail = "\n[cluster]\nnodes = 2\n[[job]]\nkind = \"all-to-all\"\nbytes = 1\n";
  const NetworkSpec named =
      parse_scenario("[node]\ngpu = \"h800\"\n[fabric]\nswitch = \"ndr-64\"" + tail, "test")
          .network;
  const NetworkSpec plain;
  EXPECT_EQ(named.node.gpus, plain.node.gpus);
  EXPECT_EQ(named.node.nics, plain.node.nics);
  EXPECT_DOUBLE_EQ(named.node.nvlink_gb_s, plain.node.nvlink_gb_s);
  EXPECT_DOUBLE_EQ(named.node.pcie_gb_s, plain.node.pcie_gb_s);
  EXPECT_DOUBLE_EQ(named.node.nic_gb_s, plain.node.nic_gb_s);
  EXPECT_DOUBLE_EQ(named.efficiency, plain.efficiency);
  EXPECT_EQ(named.topology.radix, plain.topology.radix);
}

TEST(SimulationTest, HardwareByName) {
  const std::string tail = "\n[cluster]\nnodes = 2\n[[job]]\nkind = \"all-to-all\"\nbytes = 1\n";
  const Scenario s =
      parse_scenario("[node]\ngpu = \"gb200-nvl72\"\nnvlink_gb_s = 700" + tail, "test");
  EXPECT_EQ(s.network.node.gpus, 72);
  EXPECT_EQ(s.network.node.nics, 72);
  EXPECT_EQ(s.network.node.nvlink_gb_s, 700);  // given, so kept
  const Scenario nic = parse_scenario(
      "[node]\ngpu = \"a100\"\nnic = \"connectx-8\"\n[fabric]\ntopology = \"multi-plane\"\n"
      "planes = 4" +
          tail,
      "test");
  EXPECT_EQ(nic.network.node.nic_gb_s, 100);
  EXPECT_EQ(nic.network.node.nic_ports, 4);
  EXPECT_DOUBLE_EQ(nic.network.node.nvlink_gb_s, 240);  // 0.8 of 300, as on the H800
  EXPECT_EQ(error_of("[node]\ngpu = \"h80\"" + tail).substr(0, 68),
            "test: node.gpu = h80: unknown hardware 'h80'; the nearest is 'h800';");
  EXPECT_EQ(error_of("[node]\nnic = \"connectx-7\"\nnic_gb_s = 1\nnic_ports = 1" + tail),
            "node.nic = connectx-7 does not influence this result: all that it has is given; leave "
            "it out");
}

TEST(SimulationTest, RunsAreEqualBitForBit) {
  const std::string toml =
      "[routing]\npolicy = \"ecmp\"\n[cluster]\nnodes = 4\n"
      "[[job]]\nkind = \"all-to-all\"\nbytes = 1_000_000\n";
  EXPECT_EQ(run(toml).end, run(toml).end);
}

}  // namespace
}  // namespace fathom::net
