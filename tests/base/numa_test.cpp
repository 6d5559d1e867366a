#include "base/numa.h"

#include <gtest/gtest.h>

#include <sched.h>
#include <thread>

#include <cstdlib>
#include <numeric>

#include "base/error.h"
#include "base/tensor.h"
#include "base/thread_pool.h"

namespace fathom {
namespace {

CpuList range(int begin, int end) {
  CpuList cpus(static_cast<size_t>(end - begin));
  std::iota(cpus.begin(), cpus.end(), begin);
  return cpus;
}

/// `nodes` nodes of `cores` cores with two hardware threads: processor c and c + nodes·cores.
Machine two_way(int nodes, int cores) {
  Machine m;
  const int all = nodes * cores;
  m.online = m.allowed = range(0, 2 * all);
  m.cores = range(0, all);
  for (int n = 0; n < nodes; ++n) {
    CpuList node = range(n * cores, (n + 1) * cores);
    for (int c = 0; c < cores; ++c) node.push_back(all + n * cores + c);
    m.nodes.push_back(node);
  }
  return m;
}

TEST(Numa, CpuListsRoundTrip) {
  EXPECT_EQ(parse_cpu_list("0-3,8,10-11\n"), (CpuList{0, 1, 2, 3, 8, 10, 11}));
  EXPECT_EQ(parse_cpu_list(""), CpuList{});
  EXPECT_EQ(parse_cpu_list("garbage"), CpuList{});
  for (const char* text : {"0", "0-1", "0,2,4", "0-3,8,10-11", ""})
    EXPECT_EQ(format_cpu_list(parse_cpu_list(text)), text);
}

TEST(Numa, ThisMachineIsConsistent) {
  const Machine& m = machine();
  EXPECT_FALSE(m.allowed.empty());
  EXPECT_FALSE(m.cores.empty());
  EXPECT_LE(m.cores.size(), m.allowed.size());
  EXPECT_LE(m.allowed.size(), m.online.size());
  EXPECT_GE(m.nodes.size(), 1u);
  EXPECT_GT(available_memory(), 0);
  EXPECT_FALSE(huge_page_mode().empty());
}

TEST(Numa, InterleavingSaysOverHowManyNodes) {
  // In a thread of its own: the policy is not to outlive the test.
  std::thread([] {
    try {
      EXPECT_GE(interleave_memory(), 1);
    } catch (const Error& e) {  // a container may refuse
      EXPECT_NE(e.hint().find("numactl"), std::string::npos);
    }
  }).join();
}

TEST(PlanThreads, FillsTheMachineAndPins) {
  const ThreadPlan plan = plan_threads(0, two_way(2, 4));
  EXPECT_EQ(plan.threads, 16);
  EXPECT_TRUE(plan.spin);
  for (int t = 0; t < 16; ++t) EXPECT_EQ(plan.bind[t], CpuList{t});
}

TEST(PlanThreads, OneThreadForEachCoreLeavesSiblingsFree) {
  Machine m = two_way(2, 4);
  m.cores = {0, 1, 2, 3, 4, 5, 6, 7};
  const ThreadPlan plan = plan_threads(8, m);
  for (int t = 0; t < 8; ++t) EXPECT_EQ(plan.bind[t], CpuList{t});
}

TEST(PlanThreads, FewerThreadsAreSpreadOverNodes) {
  const Machine m = two_way(2, 4);
  const ThreadPlan plan = plan_threads(4, m);
  EXPECT_TRUE(plan.spin);
  for (int t = 0; t < 4; ++t) EXPECT_EQ(plan.bind[t], m.nodes[t / 2]);
  for (const CpuList& cpus : plan_threads(2, two_way(1, 4)).bind) EXPECT_TRUE(cpus.empty());
}

TEST(PlanThreads, MoreThreadsThanProcessorsNeitherPollNorStick) {
  const ThreadPlan plan = plan_threads(17, two_way(1, 8));
  EXPECT_EQ(plan.threads, 17);
  EXPECT_FALSE(plan.spin);
  for (const CpuList& cpus : plan.bind) EXPECT_TRUE(cpus.empty());
}

TEST(PlanThreads, QuotaLimitsThreadsAndLeavesPlacesOpen) {
  Machine m = two_way(1, 8);
  m.cpu_quota = 2.5;
  EXPECT_EQ(plan_threads(0, m).threads, 3);
  EXPECT_FALSE(plan_threads(4, m).spin);
  for (const CpuList& cpus : plan_threads(0, m).bind) EXPECT_TRUE(cpus.empty());
}

TEST(PlanThreads, RanksWithoutBindingDivideTheMachine) {
  Machine m = two_way(1, 4);
  m.ranks = {1, 2};
  const ThreadPlan plan = plan_threads(0, m);
  EXPECT_EQ(plan.threads, 4);
  EXPECT_TRUE(plan.spin);
  for (int t = 0; t < 4; ++t) EXPECT_EQ(plan.bind[t], CpuList{4 + t});
  EXPECT_FALSE(plan_threads(8, m).spin) << "two ranks of 8 threads on 8 processors";
}

TEST(PlanThreads, RanksWithMasksOfTheirOwnUseAllOfThem) {
  Machine m = two_way(2, 4);
  m.ranks = {1, 2};
  m.allowed = m.nodes[1];
  m.cores = {4, 5, 6, 7};
  const ThreadPlan plan = plan_threads(0, m);
  EXPECT_EQ(plan.threads, 8);
  EXPECT_TRUE(plan.spin);
}

TEST(PlanThreads, RanksThatShareAMaskDivideItButDoNotGuessPlaces) {
  Machine m = two_way(2, 4);
  m.ranks = {0, 4};
  m.allowed = m.nodes[0];
  const ThreadPlan plan = plan_threads(0, m);
  EXPECT_EQ(plan.threads, 4);
  for (const CpuList& cpus : plan.bind) EXPECT_TRUE(cpus.empty());
}

TEST(PlanThreads, MoreRanksThanProcessorsGetOneThreadEach) {
  Machine m = two_way(1, 1);
  m.ranks = {3, 4};
  EXPECT_EQ(plan_threads(0, m).threads, 1);
  EXPECT_FALSE(plan_threads(0, m).spin);
}

TEST(LocalRanks, ComeFromTheLauncher) {
  unsetenv("OMPI_COMM_WORLD_LOCAL_SIZE");
  setenv("SLURM_LOCALID", "2", 1);
  setenv("SLURM_NTASKS_PER_NODE", "4", 1);
  EXPECT_EQ(local_ranks().rank, 2);
  EXPECT_EQ(local_ranks().size, 4);
  setenv("SLURM_NTASKS_PER_NODE", "2", 1);  // contradicts the rank
  EXPECT_EQ(local_ranks().size, 1);
  unsetenv("SLURM_LOCALID");
  unsetenv("SLURM_NTASKS_PER_NODE");
}

TEST(ThreadPool, CallerMayRunEverywhereAgainWhenThePoolEnds) {
  const auto allowed = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    return CPU_COUNT(&set);
  };
  const int before = allowed();
  { ThreadPool pool; }
  EXPECT_EQ(allowed(), before);
}

TEST(AllocateAligned, LargeMemoryIsZeroAlsoWhenItWasUsedBefore) {
  for (int round = 0; round < 3; ++round) {
    const Tensor t(DType::kI64, {3 << 17});  // 3 MiB
    int64_t sum = 0;
    for (int64_t i = 0; i < t.view().elements(); ++i) sum |= t.as<int64_t>()[i];
    EXPECT_EQ(sum, 0);
    std::fill_n(t.as<int64_t>(), t.view().elements(), -1);
  }
}

}  // namespace
}  // namespace fathom
