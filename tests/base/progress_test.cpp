#include "base/progress.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

TEST(Progress, Durations) {
  EXPECT_EQ(format_duration(7), "0:07");
  EXPECT_EQ(format_duration(754), "12:34");
  EXPECT_EQ(format_duration(10931), "3:02:11");
}

TEST(Progress, Quantities) {
  EXPECT_EQ(format_quantity(1234567, "B"), "1.23 MB");
  EXPECT_EQ(format_quantity(12, "step"), "12.0 step");
}

}  // namespace
}  // namespace fathom
