#include "base/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace fathom {
namespace {

TEST(JsonTest, NestingUpToTheLimit) {
  const std::string inner(8, '['), close(8, ']');
  EXPECT_NO_THROW(parse_json(inner + close, "x", 8));
  EXPECT_THROW(parse_json(inner + close, "x", 7), Error);
}

TEST(JsonTest, EqualNamesOnlyInDifferentObjects) {
  EXPECT_NO_THROW(parse_json(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})", "x"));
  EXPECT_THROW(parse_json(R"({"a": {"b": 1, "c": 2, "b": 3}})", "x"), Error);
}

TEST(JsonTest, MessagesCanBeShown) {
  try {
    parse_json("{\"\x1b\xff\": 1}", "x.json");
    FAIL();
  } catch (const Error& e) {
    for (const char c : std::string(e.what())) EXPECT_TRUE(c >= 0x20 && c <= 0x7e);
  }
}

TEST(JsonTest, BriefIsShortAscii) {
  EXPECT_EQ(brief("é"), "\"\\u00e9\"");
  EXPECT_LT(brief(std::string(1000, 'x')).size(), 70u);
}

}  // namespace
}  // namespace fathom
