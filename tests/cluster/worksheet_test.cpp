#include "cluster/worksheet.h"

#include <gtest/gtest.h>

namespace fathom::cluster {
namespace {

TEST(Worksheet, NumbersInWords) {
  EXPECT_EQ(in_words(120.96e-6, "s"), "120.96 us");
  EXPECT_EQ(in_words(70272, "bytes"), "70.272 KB");
  EXPECT_EQ(in_words(250.4e9, "FLOP"), "250.4 GFLOP");
  EXPECT_EQ(in_words(5.576e6, "$"), "$5.576 M");
  EXPECT_EQ(in_words(0.4373, "%"), "43.73%");
  EXPECT_EQ(in_words(50, "GB/s"), "50 GB/s");
  EXPECT_EQ(in_words(0, "s"), "0 s");
}

TEST(Worksheet, KeepsTheFirstMentionOfAnAssumption) {
  Worksheet sheet;
  sheet.assume("a", "1", "here");
  sheet.assume("a", "2", "there");
  ASSERT_EQ(sheet.assumptions().size(), 1u);
  EXPECT_EQ(sheet.assumptions()[0].value, "1");
}

}  // namespace
}  // namespace fathom::cluster
