#include "text/unicode.h"

#include <gtest/gtest.h>

#include "fixtures.h"

namespace fathom {
namespace {

TEST(Unicode, EveryCodePointSurvivesEncodingAndDecoding) {
  for (uint32_t c = 0; c <= kMaxCodePoint; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    const DecodedCodePoint decoded = decode_code_point(text, 0);
    ASSERT_EQ(decoded.value, c);
    ASSERT_EQ(decoded.bytes, text.size());
    ASSERT_EQ(previous_code_point(text, text.size()), 0u);
    ASSERT_EQ(incomplete_suffix(text.substr(0, text.size() - 1)), text.size() - 1);
  }
}

TEST(Unicode, InvalidSequencesAreSingleBytes) {
  for (const char* text : {"\x80", "\xC0\xAF", "\xC1\xBF", "\xE0\x80\xAF", "\xED\xA0\x80",
                           "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xFF", "\xE4\xB8"}) {
    const DecodedCodePoint decoded = decode_code_point(text, 0);
    EXPECT_EQ(decoded.value, kInvalidByte) << text;
    EXPECT_EQ(decoded.bytes, 1u) << text;
  }
}

TEST(Unicode, DecodingBackwardsMeetsTheSameBoundaries) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const std::string text = random_text(seed, 2000, false);
    std::vector<size_t> forwards = {0}, backwards = {text.size()};
    while (forwards.back() < text.size()) {
      forwards.push_back(forwards.back() + decode_code_point(text, forwards.back()).bytes);
    }
    while (backwards.back() > 0) backwards.push_back(previous_code_point(text, backwards.back()));
    std::reverse(backwards.begin(), backwards.end());
    EXPECT_EQ(forwards, backwards);
  }
}

TEST(Unicode, ReplacesMaximalSubparts) {
  EXPECT_EQ(replace_invalid_utf8("a\x80z"), "a\uFFFDz");
  EXPECT_EQ(replace_invalid_utf8("\xE4\xB8z"), "\uFFFDz");
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\x91\xF0\x9F\x91\x8D"), "\uFFFD👍");
  EXPECT_EQ(replace_invalid_utf8("中\xF0"), "中\uFFFD");
}

TEST(Unicode, IncompleteSuffix) {
  EXPECT_EQ(incomplete_suffix(""), 0u);
  EXPECT_EQ(incomplete_suffix("中"), 0u);
  EXPECT_EQ(incomplete_suffix("中\xE4\xB8"), 2u);
  EXPECT_EQ(incomplete_suffix("\xF0\x9F\x91"), 3u);
  EXPECT_EQ(incomplete_suffix("a\x80"), 0u);
  EXPECT_EQ(incomplete_suffix("\xE0\x80"), 0u);
}

TEST(Unicode, Sets) {
  const CodePointSet letters = *category_set("L");
  EXPECT_TRUE(letters.contains('a') && letters.contains(0x4E00) && letters.contains(0x10FFFF) == 0);
  EXPECT_TRUE(letters.contains(0x1C89));  // of Unicode 16
  EXPECT_FALSE(letters.contains('1'));
  EXPECT_FALSE(letters.complement().contains('a'));
  EXPECT_TRUE(letters.complement().contains('1'));
  EXPECT_FALSE(category_set("X").has_value());
  EXPECT_FALSE(category_set("Han").has_value());
  EXPECT_TRUE(white_space_set().contains(0x85));
  EXPECT_FALSE(white_space_set().contains(0x180E));
  CodePointSet joined({{5, 9}, {1, 4}, {20, 30}});
  EXPECT_EQ(joined.ranges().size(), 2u);
}

}  // namespace
}  // namespace fathom
