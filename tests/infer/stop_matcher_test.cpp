#include "infer/stop_matcher.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/philox.h"

namespace fathom {
namespace {

TEST(StopMatcher, PassesTextWithoutStops) {
  StopMatcher m({});
  EXPECT_EQ(m.feed("hello"), "hello");
  EXPECT_EQ(m.flush(), "");
}

TEST(StopMatcher, HoldsBackWhatMayBeginAStop) {
  StopMatcher m({"</s>"});
  EXPECT_EQ(m.feed("a<"), "a");
  EXPECT_EQ(m.feed("/"), "");
  EXPECT_EQ(m.feed("b"), "</b");
  EXPECT_EQ(m.feed("<</"), "<");
  EXPECT_EQ(m.feed("s>rest"), "");
  EXPECT_TRUE(m.matched());
  EXPECT_EQ(m.flush(), "");
}

TEST(StopMatcher, FlushReleasesAnUndecidedEnd) {
  StopMatcher m({"\n\n", "END"});
  EXPECT_EQ(m.feed("xE\n"), "xE");
  EXPECT_EQ(m.flush(), "\n");
}

TEST(StopMatcher, FirstCompleteStopWinsThenTheLongest) {
  StopMatcher first({"abcd", "bc"});
  EXPECT_EQ(first.feed("xabcd"), "xa");
  StopMatcher longest({"c", "bc"});
  EXPECT_EQ(longest.feed("abc"), "a");
}

TEST(StopMatcher, RepeatedPrefixesAreFound) {
  StopMatcher m({"aab"});
  EXPECT_EQ(m.feed("aaaa"), "aa");
  EXPECT_EQ(m.feed("b"), "");
  EXPECT_TRUE(m.matched());
}

TEST(StopMatcher, EmptyStopIsAnError) {
  EXPECT_THROW(StopMatcher({"x", ""}), Error);
}

// The passed text and the match are the same wherever the text is cut.
TEST(StopMatcher, CutsDoNotMatter) {
  const Philox random(1);
  uint64_t n = 0;
  const auto text_of = [&](uint64_t length) {
    std::string s;
    while (s.size() < length) s += "ab"[random.below(n++, 2)];
    return s;
  };
  for (int trial = 0; trial < 300; ++trial) {
    const std::string text = text_of(30);
    const std::vector<std::string> stops = {text_of(4 + random.below(n++, 4)), text_of(6)};
    StopMatcher whole(stops);
    std::string expected = whole.feed(text);
    expected += whole.flush();
    StopMatcher cut(stops);
    std::string out;
    for (size_t at = 0; at < text.size() && !cut.matched();) {
      const size_t length = 1 + random.below(n++, 4);
      out += cut.feed(std::string_view(text).substr(at, length));
      at += length;
    }
    EXPECT_EQ(cut.matched(), whole.matched());
    out += cut.flush();
    EXPECT_EQ(out, expected) << text << ' ' << stops[0] << ' ' << stops[1];
    EXPECT_TRUE(text.starts_with(expected));
  }
}

}  // namespace
}  // namespace fathom
