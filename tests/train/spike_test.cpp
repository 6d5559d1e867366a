#include "train/spike.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace fathom::train {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

/// A loss that falls from 10 to about 3 with a little noise.
double healthy(int64_t step) {
  const double s = static_cast<double>(step);
  return 3 + 7 * std::exp(-s / 40) + 0.1 * std::sin(s * 12.9898);
}

void warm(SpikeDetector& detector, int64_t steps) {
  for (int64_t step = 1; step <= steps; ++step)
    ASSERT_FALSE(detector.observe(step, healthy(step), 1.0)) << step;
}

TEST(SpikeDetector, AHealthyRunGoesOn) {
  SpikeDetector detector({});
  warm(detector, 1000);
  EXPECT_NEAR(detector.state().mean, 3, 0.1);
}

TEST(SpikeDetector, NanAndInfinityStopAtOnce) {
  for (const double bad : {std::nan(""), kInf, -kInf}) {
    EXPECT_TRUE(SpikeDetector({}).observe(1, bad, 1));
    EXPECT_TRUE(SpikeDetector({}).observe(1, 1, bad));
  }
  const auto reason = SpikeDetector({}).observe(17, std::nan(""), 1);
  EXPECT_EQ(*reason, "the loss is nan at step 17");
}

TEST(SpikeDetector, ALastingSpikeStopsAndAShortOneDoesNot) {
  SpikeDetector detector({});
  warm(detector, 200);
  for (int64_t i = 0; i < 4; ++i) EXPECT_FALSE(detector.observe(201 + i, 9, 1));
  EXPECT_FALSE(detector.observe(205, 3, 1)) << "recovered: the count starts again";
  for (int64_t i = 0; i < 4; ++i) EXPECT_FALSE(detector.observe(206 + i, 9, 1));
  const auto reason = detector.observe(210, 9, 1);
  ASSERT_TRUE(reason);
  EXPECT_NE(reason->find("9.0000 at step 210"), std::string::npos) << *reason;
}

TEST(SpikeDetector, NothingCountsBeforeThereIsAnAverage) {
  SpikeDetector detector({.steps = 1});
  EXPECT_FALSE(detector.observe(1, 1, 1));
  EXPECT_FALSE(detector.observe(2, 100, 1));
}

TEST(SpikeDetector, ZeroStepsTurnsSpikesOffButNotNan) {
  SpikeDetector detector({.steps = 0});
  warm(detector, 100);
  for (int64_t i = 0; i < 50; ++i) EXPECT_FALSE(detector.observe(101 + i, 1000, 1));
  EXPECT_TRUE(detector.observe(151, kInf, 1));
}

TEST(SpikeDetector, ARestoredDetectorDecidesTheSame) {
  SpikeDetector whole({});
  warm(whole, 100);
  for (int64_t i = 0; i < 3; ++i) whole.observe(101 + i, 9, 1);
  SpikeDetector resumed({});
  resumed.restore(whole.state());
  for (int64_t i = 0; i < 2; ++i)
    EXPECT_EQ(whole.observe(104 + i, 9, 1), resumed.observe(104 + i, 9, 1));
  EXPECT_EQ(whole.state(), resumed.state());
}

}  // namespace
}  // namespace fathom::train
