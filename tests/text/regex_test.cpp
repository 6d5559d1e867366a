#include "text/regex.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace fathom {
namespace {

TextSpan find(const std::string& pattern, std::string_view text, size_t from = 0) {
  Regex::Scratch scratch;
  scratch.allow(text.size());
  TextSpan match{SIZE_MAX, SIZE_MAX};
  Regex(parse_regex(pattern)).find(text, from, scratch, match);
  return match;
}

TEST(Regex, TakesTheLeftmostMatchAndTheFirstAlternative) {
  EXPECT_EQ(find("b+|a", "xxabb"), (TextSpan{2, 3}));
  EXPECT_EQ(find("a|ab", "xab"), (TextSpan{1, 2}));
  EXPECT_EQ(find("(?:a|ab)c", "xabc"), (TextSpan{1, 4}));
  EXPECT_EQ(find("a{2,3}", "aaaa"), (TextSpan{0, 3}));
  EXPECT_EQ(find("a{2,3}", "aaaa", 2), (TextSpan{2, 4}));
  EXPECT_EQ(find("(ab){2}", "ababab"), (TextSpan{0, 4}));
  EXPECT_EQ(find("中+", "x中中y"), (TextSpan{1, 7}));
}

TEST(Regex, BacktracksByCodePoints) {
  EXPECT_EQ(find("[中é]+é", "中é中éé中"), (TextSpan{0, 12}));
  EXPECT_EQ(find(".*b", "aéb中b\x80"), (TextSpan{0, 8}));
  EXPECT_EQ(find("a++a", "aaa"), (TextSpan{SIZE_MAX, SIZE_MAX}));
  EXPECT_EQ(find("\\s+(?!\\S)", "   x"), (TextSpan{0, 2}));
  EXPECT_EQ(find("a+?b?", "aab"), (TextSpan{0, 1}));
}

TEST(Regex, NamesWhatItCannotRead) {
  for (const char* pattern :
       {"(",          ")",           "[",        "[]",       "a**",     "*",
        "a{2",        "a{3,2}",      "(?<=a)b",  "(?=ab)",   "\\b",     "^a",
        "\\p{Greek}", "\\p{",        "[a-\\d]",  "[z-a]",    "[[a]",    "\\",
        "(?i:\\d)",   "(?i:é)",      "(?i:[a])", "a{1001}",  "(?:a?)*", "[a&&]",
        "[&&b]",      "\\x{110000}", "(?=a)+",   "(?:ab)++", "(?-i:a)", "(?i)a"}) {
    EXPECT_THROW(Regex(parse_regex(pattern)), Error) << pattern;
  }
  EXPECT_THROW(parse_regex(std::string(1000, '(')), Error);
  try {
    parse_regex("ab\\q");
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "pattern \"ab\\q\", offset 4: \\q is not supported");
  }
}

TEST(Regex, ClassesWithinClasses) {
  EXPECT_EQ(find("[a-z&&[^m-p]]+", "xyzmno"), (TextSpan{0, 3}));
  EXPECT_EQ(find("[a[cd]e]+", "bacedb"), (TextSpan{1, 5}));
  EXPECT_EQ(find("[^a-z&&[b]]", "ba"), (TextSpan{1, 2}));
  EXPECT_EQ(find("[\\p{L}&&[^\\p{Han}]]+", "中é中"), (TextSpan{3, 5}));
  EXPECT_EQ(find("[\\p{Han}]+", "aあ中々〇x"), (TextSpan{4, 13}));
  EXPECT_THROW(parse_regex(std::string(1000, '[')), Error);
}

TEST(Regex, IgnoresCaseOnRequest) {
  EXPECT_EQ(find("(?i:'s|'LL)", "x'Ll"), (TextSpan{1, 4}));
  EXPECT_EQ(find("(?i:'s)", "'ſ"), (TextSpan{0, 3}));
  EXPECT_EQ(find("(?i:k)", "\u212A"), (TextSpan{0, 3}));
  EXPECT_EQ(find("(?i:a)b", "AB"), (TextSpan{SIZE_MAX, SIZE_MAX}));
  EXPECT_EQ(find("(?i:(?:x)|1)y", "1y"), (TextSpan{0, 2}));
}

TEST(Regex, EndlessBacktrackingIsAnError) {
  Regex::Scratch scratch;
  scratch.allow(40);
  TextSpan match;
  const Regex regex(parse_regex("(?:a+)+b"));
  EXPECT_THROW(regex.find(std::string(40, 'a'), 0, scratch, match), Error);
}

TEST(Regex, ProvesWhereTextMayBeCut) {
  const Regex words(parse_regex(" ?\\p{L}+|\\s+(?!\\S)|\\s|[0-9]{2}"));
  EXPECT_TRUE(words.may_span('a', 'b'));
  EXPECT_TRUE(words.may_span(' ', 'b'));
  EXPECT_FALSE(words.may_span('b', ' '));
  EXPECT_TRUE(words.looks_past(' '));
  EXPECT_FALSE(words.looks_past('a'));
  EXPECT_TRUE(words.starts_match(' '));
  EXPECT_TRUE(words.starts_match('a'));
  EXPECT_FALSE(words.starts_match('1'));
  EXPECT_FALSE(words.matches_empty());
  EXPECT_FALSE(Regex(parse_regex("a?+a")).starts_match('a'));
  EXPECT_TRUE(Regex(parse_regex("a*")).matches_empty());
  EXPECT_TRUE(Regex(parse_regex("(?:ab)+")).may_span('b', 'a'));
  EXPECT_FALSE(Regex(parse_regex("(?:ab)")).may_span('b', 'a'));
}

}  // namespace
}  // namespace fathom
