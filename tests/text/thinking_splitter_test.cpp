#include "text/thinking_splitter.h"

#include <gtest/gtest.h>

#include <random>

namespace fathom {
namespace {

/// Reasoning, a bar, content; pieces of at most `step` bytes.
std::string split(const std::string& text, bool opens_thinking, size_t step) {
  ThinkingSplitter splitter(opens_thinking);
  std::string reasoning, content;
  const auto take = [&](const std::vector<ThinkingSplitter::Piece>& pieces) {
    for (const auto& piece : pieces) {
      EXPECT_FALSE(piece.text.empty());
      (piece.is_reasoning ? reasoning : content) += piece.text;
    }
  };
  for (size_t at = 0; at < text.size(); at += step) take(splitter.add(text.substr(at, step)));
  take(splitter.finish());
  return reasoning + "|" + content;
}

TEST(ThinkingSplitter, FindsTheReasoningHoweverItIsCut) {
  for (size_t step : {1, 2, 3, 5, 100}) {
    EXPECT_EQ(split("a</think>b", true, step), "a|b");
    EXPECT_EQ(split(" \n<think>a</think>\n\nb</think>", false, step), "a|\n\nb</think>");
    EXPECT_EQ(split("b<think>a</think>", false, step), "|b<think>a</think>");
    EXPECT_EQ(split("<thin", false, step), "|<thin");
    EXPECT_EQ(split("<think>a</thin", false, step), "a</thin|");
    EXPECT_EQ(split("a<</think>b", true, step), "a<|b");
    EXPECT_EQ(split("a</th</think>", true, step), "a</th|");
    EXPECT_EQ(split("", true, step), "|");
    EXPECT_EQ(split("  x", false, step), "|  x");
  }
}

TEST(ThinkingSplitter, LosesNothing) {
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    std::string text;
    for (int k = 0; k < 12; ++k) text += "<think>/x"[random() % 9];
    const std::string whole = split(text, true, 100);
    EXPECT_EQ(split(text, true, 1 + random() % 4), whole) << text;
    const bool closed = text.find("</think>") != std::string::npos;
    EXPECT_EQ(whole.size() - 1, text.size() - (closed ? 8 : 0)) << text;
  }
}

}  // namespace
}  // namespace fathom
