#include "text/tiktoken_file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "fixtures.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

std::string ranks() {
  return read_text_file(fixture("tiktoken/tiktoken.model"));
}
std::string config() {
  return read_text_file(fixture("tiktoken/tokenizer_config.json"));
}

/// The fixture with its line `number` (from 1) replaced.
std::string with_line(size_t number, const std::string& line) {
  const std::string text = ranks();
  size_t begin = 0;
  for (size_t i = 1; i < number; ++i) begin = text.find('\n', begin) + 1;
  return text.substr(0, begin) + line + text.substr(text.find('\n', begin));
}

void expect_error(const std::string& expected, const std::string& text,
                  const std::string& settings = config()) {
  try {
    Tokenizer::from_tiktoken(text, "t.model", settings);
    FAIL() << "no error; expected: " << expected;
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(expected), std::string::npos) << e.what();
    EXPECT_FALSE(e.hint().empty());
  }
}

TEST(TiktokenFile, DamagedLines) {
  expect_error("t.model: no token in the file", "");
  expect_error("t.model: line 1: expected a token in base64, a space and a rank", "{}");
  expect_error("t.model: line 3: \"A*==\" is not base64", with_line(3, "A*== 2"));
  expect_error("t.model: line 3: \"Ag=\" is not base64", with_line(3, "Ag= 2"));
  expect_error("t.model: line 3: \"\" is not base64", with_line(3, " 2"));
  expect_error("line 3: \"2x\" is not a rank", with_line(3, "Ag== 2x"));
  expect_error("line 3: \"\" is not a rank", with_line(3, "Ag== "));
  expect_error("line 3: \"-2\" is not a rank", with_line(3, "Ag== -2"));
  expect_error("is not a rank", with_line(3, "Ag== 99999999999999999999999"));
}

TEST(TiktokenFile, RanksAreEachThereOnce) {
  expect_error("t.model: line 4: the rank 2 stands on two lines", with_line(4, "Aw== 2"));
  expect_error("t.model: no token has the rank 2, though 899 is the highest", with_line(3, ""));
  expect_error("t.model: the ranks 1 and 2 are the same token", with_line(3, "AQ== 2"));
  expect_error("t.model: no token for the byte 0x02", with_line(3, "AQEBAQEB 2"));
  const std::string whole = ranks();
  expect_error("t.model: ", whole.substr(0, 1000));
}

TEST(TiktokenFile, SpecialTokensComeFromTheConfiguration) {
  expect_error("added_tokens_decoder: missing", ranks(), "{}");
  expect_error("\"x\" has the id 899, outside the 256 ids after the 900 tokens of the file",
               ranks(), R"({"added_tokens_decoder": {"899": {"content": "x"}}})");
  expect_error("has the id 1156", ranks(),
               R"({"added_tokens_decoder": {"1156": {"content": "x"}}})");
  expect_error("\"y\" (id 900) is already a token", ranks(),
               R"({"added_tokens_decoder": {"900": {"content": "y"}}})");
  expect_error("added_tokens_decoder.zero: the key is not a token id", ranks(),
               R"({"added_tokens_decoder": {"zero": {"content": "x"}}})");
  expect_error("bos_token is \"[X]\", which the tokenizer lacks", ranks(),
               R"({"added_tokens_decoder": {"900": {"content": "<y>"}}, "bos_token": "[X]"})");
  const Tokenizer tokenizer = Tokenizer::load(fixture("tiktoken"));
  EXPECT_EQ(tokenizer.vocab_size(), 900 + 256);
  EXPECT_EQ(tokenizer.bos_id(), 900);
  EXPECT_EQ(tokenizer.require_id("<|im_end|>"), 902);
  EXPECT_EQ(tokenizer.require_id("<|reserved_token_905|>"), 905);
  EXPECT_TRUE(tokenizer.is_special(902));
  EXPECT_FALSE(tokenizer.is_special(922));  // <think>
  EXPECT_EQ(tokenizer.encode("x", {.add_special_tokens = true}), tokenizer.encode("x"));
}

TEST(TiktokenFile, CarriageReturnsAndBlankLinesAreNothing) {
  std::string text = ranks();
  for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) {
    text.replace(at, 1, "\r\n");
  }
  const Tokenizer tokenizer = Tokenizer::from_tiktoken(text + "\r\n\n", "t.model", config());
  EXPECT_EQ(tokenizer.vocab_size(), 1156);
}

/// "aaa" is joined from "a" and "aa" in two ways of one rank: the leftmost comes first.
TEST(TiktokenFile, EqualRanksMergeFromTheLeft) {
  std::string text = ranks();
  size_t end = 0;  // of the line of rank 255, the last single byte
  for (int rank = 0; rank < 256; ++rank) end = text.find('\n', end) + 1;
  text = text.substr(0, end) + "YWE= 256\nYWFh 257\n";  // aa, aaa
  const Tokenizer tokenizer = Tokenizer::from_tiktoken(
      text, "t.model", R"({"added_tokens_decoder": {"258": {"content": "<x>"}}})");
  EXPECT_EQ(tokenizer.encode("aaaaa"), (std::vector<int32_t>{256, 257}));
  EXPECT_EQ(tokenizer.encode("aaa"), (std::vector<int32_t>{257}));
}

TEST(TiktokenFile, TokenizerJsonIsPreferred) {
  const std::filesystem::path directory =
      std::filesystem::path(testing::TempDir()) / "tokenizer_preference";
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  std::filesystem::copy(fixture("tiktoken"), directory);
  EXPECT_EQ(Tokenizer::load(directory).vocab_size(), 1156);
  EXPECT_EQ(Tokenizer::load(directory / "tiktoken.model").vocab_size(), 1156);
  std::filesystem::copy(fixture("small/tokenizer.json"), directory);
  std::filesystem::copy(fixture("small/tokenizer_config.json"), directory,
                        std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(Tokenizer::load(directory).vocab_size(),
            Tokenizer::load(fixture("small")).vocab_size());
}

}  // namespace
}  // namespace fathom
