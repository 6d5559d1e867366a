#include "base/philox.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

// Known answers of philox4x32-10 from the Random123 distribution (kat_vectors).
TEST(Philox, KnownAnswers) {
  const std::array<uint32_t, 4> zeros = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  EXPECT_EQ(Philox(0, 0).block(0), zeros);
  const std::array<uint32_t, 4> ones = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
  EXPECT_EQ(Philox(~0ull, ~0ull).block(~0ull), ones);
}

TEST(Philox, MomentsOfTheNormal) {
  const Philox rng(7);
  double sum = 0, squares = 0;
  constexpr int kN = 100000;
  for (int i = 0; i < kN / 2; ++i)
    for (float x : rng.normal2(i)) {
      sum += x;
      squares += double{x} * x;
    }
  EXPECT_NEAR(sum / kN, 0, 0.016);       // 5 / sqrt(N)
  EXPECT_NEAR(squares / kN, 1, 0.0225);  // 5 sqrt(2 / N)
}

TEST(Philox, BelowStaysBelowAndReachesAll) {
  const Philox rng(3);
  int seen = 0;
  for (int i = 0; i < 1000; ++i) seen |= 1 << rng.below(i, 10);
  EXPECT_EQ(seen, (1 << 10) - 1);
}

}  // namespace
}  // namespace fathom
