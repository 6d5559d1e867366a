#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/cpu.h"

namespace fathom {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, RangesCoverEverythingOnce) {
  ThreadPool pool(GetParam());
  for (int64_t n : {0, 1, 7, 64, 1000}) {
    for (int64_t grain : {1, 16}) {
      std::vector<int> hits(n);
      pool.for_range(n, grain, [&](int64_t begin, int64_t end, int) {
        EXPECT_EQ(begin % grain, 0);
        for (int64_t i = begin; i < end; ++i) ++hits[i];
      });
      EXPECT_EQ(std::count(hits.begin(), hits.end(), 1), n);
    }
  }
}

TEST_P(ThreadPoolTest, ForEachHandsOutEveryIndexOnce) {
  ThreadPool pool(GetParam());
  std::vector<int> hits(1000);
  pool.for_each(1000, [&](int64_t i, int) { ++hits[i]; });
  EXPECT_EQ(std::count(hits.begin(), hits.end(), 1), 1000);
}

TEST_P(ThreadPoolTest, ManyShortJobsAllComplete) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> sums(pool.size());
  for (int job = 0; job < 2000; ++job) pool.run([&](int t) { sums[t] += job; });
  for (int64_t s : sums) EXPECT_EQ(s, 1999 * 2000 / 2);
}

TEST_P(ThreadPoolTest, WorkersThatFellAsleepWakeUp) {
  ThreadPool pool(GetParam());
  std::atomic<int> ran{0};
  for (int job = 0; job < 5; ++job) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    pool.run([&](int) { ++ran; });
  }
  EXPECT_EQ(ran, 5 * pool.size());
}

TEST_P(ThreadPoolTest, CallerSleepsUntilASlowWorkerIsDone) {
  ThreadPool pool(GetParam());
  std::vector<int> done(pool.size());
  for (int job = 0; job < 3; ++job) {
    pool.run([&](int t) {
      if (t > 0) std::this_thread::sleep_for(std::chrono::milliseconds(3));
      ++done[t];
    });
    for (int d : done) EXPECT_EQ(d, job + 1);
  }
}

TEST(ThreadPool, PoolsSideBySide) {
  ThreadPool a(2), b(3);
  std::atomic<int> ran{0};
  for (int job = 0; job < 100; ++job) {
    a.run([&](int) { ++ran; });
    b.run([&](int) { ++ran; });
  }
  EXPECT_EQ(ran, 500);
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPoolTest, testing::Values(1, 2, 5));

TEST(ThreadPool, DefaultsToTheUsableProcessors) {
  EXPECT_EQ(ThreadPool().size(), usable_cpus());
}

}  // namespace
}  // namespace fathom
