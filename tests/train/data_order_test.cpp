#include "train/data_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace fathom::train {
namespace {

std::vector<int64_t> all(const Permutation& permutation) {
  std::vector<int64_t> values;
  for (int64_t i = 0; i < permutation.size(); ++i) values.push_back(permutation(i));
  return values;
}

TEST(Permutation, IsOne) {
  for (const int64_t size : {1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000, 4097}) {
    auto values = all(Permutation(size, 7, 1));
    std::sort(values.begin(), values.end());
    for (int64_t i = 0; i < size; ++i) ASSERT_EQ(values[static_cast<size_t>(i)], i) << size;
  }
}

TEST(Permutation, DependsOnSeedAndStream) {
  const auto values = all(Permutation(1000, 7, 1));
  EXPECT_EQ(values, all(Permutation(1000, 7, 1)));
  EXPECT_NE(values, all(Permutation(1000, 8, 1)));
  EXPECT_NE(values, all(Permutation(1000, 7, 2)));
}

TEST(Permutation, LeavesNoTraceOfTheOrder) {
  // A random permutation has one fixed point and one successor kept on average, both Poisson.
  const auto values = all(Permutation(100'000, 1, 2));
  int fixed = 0, successors = 0;
  for (size_t i = 0; i + 1 < values.size(); ++i) {
    fixed += values[i] == static_cast<int64_t>(i);
    successors += values[i + 1] == values[i] + 1;
  }
  EXPECT_LT(fixed, 10);       // P < 1e-6
  EXPECT_LT(successors, 10);  // P < 1e-6
}

TEST(Permutation, ReachesFarIndices) {
  const int64_t size = int64_t{1} << 40;
  const Permutation permutation(size - 3, 5, 1);
  for (const int64_t i : {int64_t{0}, size / 2, size - 4}) {
    EXPECT_GE(permutation(i), 0);
    EXPECT_LT(permutation(i), size - 3);
  }
}

}  // namespace
}  // namespace fathom::train
