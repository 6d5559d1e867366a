#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
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

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPoolTest, testing::Values(1, 2, 5));

TEST(ThreadPool, DefaultsToTheUsableProcessors) {
  EXPECT_EQ(ThreadPool().size(), usable_cpus());
}

}  // namespace
}  // namespace fathom
