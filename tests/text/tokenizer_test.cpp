#include "text/tokenizer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "fixtures.h"

namespace fathom {
namespace {

constexpr EncodeOptions kParse = {.parse_special = true};

/// CRC-32 of zlib.
uint32_t crc32(const std::vector<int32_t>& ids) {
  uint32_t crc = ~0u;
  for (int32_t id : ids) {
    for (int byte = 0; byte < 4; ++byte) {
      crc ^= static_cast<uint32_t>(id) >> 8 * byte & 0xFF;
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0u);
    }
  }
  return ~crc;
}

/// As in tests/oracle/make_tokenizer_fixtures.py.
std::string code_point_block(uint32_t start) {
  std::string text;
  for (uint32_t c = start; c < start + 4096; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string utf8;
    append_utf8(utf8, c);
    text += "a" + utf8 + "b " + utf8 + "1\n";
  }
  return text;
}

/// Run on the small committed tokenizers, a tokenizer.json and a tiktoken.model, and on
/// DeepSeek-V3's where there is one.
class TokenizerTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string name = GetParam();
    tokenizer = name == "v3" ? v3() : name == "small" ? small() : tiktoken();
    if (tokenizer == nullptr) {
      GTEST_SKIP() << "no DeepSeek-V3 tokenizer.json; set FATHOM_V3_TOKENIZER to its directory";
    }
  }
  static const Tokenizer* small() {
    static const Tokenizer loaded = Tokenizer::load(fixture("small"));
    return &loaded;
  }
  static const Tokenizer* tiktoken() {
    static const Tokenizer loaded = Tokenizer::load(fixture("tiktoken"));
    return &loaded;
  }
  static const Tokenizer* v3() {
    if (!v3_directory()) return nullptr;
    static const Tokenizer loaded = Tokenizer::load(*v3_directory());
    return &loaded;
  }
  const Tokenizer* tokenizer = nullptr;
};

TEST_P(TokenizerTest, EncodesLikeTheReference) {
  const nlohmann::json golden = fixture_json("cases.json");
  for (const auto& c : golden["cases"]) {
    const std::string text = c["text"];
    const auto expected = c[GetParam()].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer->encode(text, kParse), expected) << text;
    EXPECT_EQ(tokenizer->decode(expected), text);
  }
}

TEST_P(TokenizerTest, EncodesEveryCodePointLikeTheReference) {
  const nlohmann::json golden = fixture_json("cases.json")["crc"][GetParam()];
  for (uint32_t block = 0; block < golden.size(); ++block) {
    const std::vector<int32_t> ids = tokenizer->encode(code_point_block(block * 4096));
    EXPECT_EQ(crc32(ids), golden[block].get<uint32_t>()) << fmt::format("U+{:X}", block * 4096);
  }
}

TEST_P(TokenizerTest, AnyBytesSurviveTheRoundTrip) {
  std::mt19937 random(3);
  for (uint32_t seed = 0; seed < 100; ++seed) {
    std::string text = random_text(seed, seed * 20, seed % 2 == 0);
    if (seed % 4 == 0) {
      for (char& c : text) c = static_cast<char>(random());
    }
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, kParse)), text);
  }
}

TEST_P(TokenizerTest, InvalidBytesLeaveTheirNeighboursAlone) {
  const std::vector<int32_t> a = tokenizer->encode("Hello world"),
                             b = tokenizer->encode(" the dog");
  std::vector<int32_t> expected = a;
  for (int i = 0; i < 2; ++i) {
    const auto stray = tokenizer->encode("\xFF");
    expected.insert(expected.end(), stray.begin(), stray.end());
  }
  expected.insert(expected.end(), b.begin(), b.end());
  EXPECT_EQ(tokenizer->encode("Hello world\xFF\xFF the dog"), expected);
}

TEST_P(TokenizerTest, ThreadsChangeNothing) {
  ThreadPool pool(3);
  for (const EncodeOptions options : {EncodeOptions{}, EncodeOptions{true, true}}) {
    const std::string text = random_text(5, 400000, false);
    EXPECT_EQ(tokenizer->encode_parallel(text, options, pool), tokenizer->encode(text, options));
    std::vector<std::string> texts;
    for (uint32_t i = 0; i < 30; ++i) texts.push_back(random_text(i, i * i * 40, true));
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    const auto batch = tokenizer->encode_batch(views, options, pool);
    ASSERT_EQ(batch.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(batch[i], tokenizer->encode(texts[i], options));
    }
  }
}

/// encode cuts long text into stretches; joined short encodings at the same places must agree, and
/// a text without any safe place must still be encoded.
TEST_P(TokenizerTest, LongTextWithoutASafePlaceToCut) {
  ThreadPool pool(2);
  for (const std::string& unit : {std::string("\x01"), std::string("1"), std::string(" \n")}) {
    std::string text;
    while (text.size() < 200000) text += unit;
    const std::vector<int32_t> ids = tokenizer->encode(text);
    EXPECT_EQ(tokenizer->decode(ids), text);
    EXPECT_EQ(tokenizer->encode_parallel(text, {}, pool), ids);
  }
}

TEST_P(TokenizerTest, SpecialTokens) {
  if (tokenizer->bos_id() != 0) GTEST_SKIP() << "these are DeepSeek-V3's";
  const int32_t user = tokenizer->require_id("<｜User｜>");
  EXPECT_EQ(tokenizer->bos_id(), 0);
  EXPECT_EQ(tokenizer->eos_id(), 1);
  EXPECT_EQ(tokenizer->token_bytes(0), "<｜begin▁of▁sentence｜>");
  EXPECT_TRUE(tokenizer->is_special(0));
  EXPECT_FALSE(tokenizer->is_special(user));
  EXPECT_FALSE(tokenizer->is_special(-1));
  EXPECT_EQ(tokenizer->encode("<｜User｜>", kParse), std::vector<int32_t>{user});
  const std::vector<int32_t> plain = tokenizer->encode("<｜User｜><｜end▁of▁sentence｜>");
  EXPECT_EQ(std::count(plain.begin(), plain.end(), user), 0);
  EXPECT_EQ(std::count(plain.begin(), plain.end(), 1), 0);
  EXPECT_EQ(tokenizer->encode("", {.add_special_tokens = true}), std::vector<int32_t>{0});
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{0, user, 1}, true), "<｜User｜>");
  EXPECT_FALSE(tokenizer->id_of("no such token").has_value());
  EXPECT_THROW(tokenizer->require_id("no such token"), Error);
}

TEST_P(TokenizerTest, IdsOutsideTheVocabularyAreErrors) {
  EXPECT_THROW(tokenizer->decode(std::vector<int32_t>{tokenizer->vocab_size()}), Error);
  EXPECT_THROW(tokenizer->decode(std::vector<int32_t>{-1}), Error);
}

INSTANTIATE_TEST_SUITE_P(Files, TokenizerTest, testing::Values("small", "tiktoken", "v3"));

// Expected ids are those of transformers' fast tokenizer on the same two files.
TEST(AddedTokens, TokenizerConfigAddsWhatTheFileLacks) {
  const std::string json = read_text_file(fixture("small/tokenizer.json"));
  const Tokenizer plain = Tokenizer::from_json(json, "t");
  const int32_t size = plain.vocab_size(), word = plain.encode("a")[0];
  const Tokenizer t = Tokenizer::from_json(json, "t", R"({"added_tokens_decoder": {
      "90000": {"content": "<|second|>", "special": true}, "80000": {"content": "<|first|>"},
      "5": {"content": "a"}}})");
  EXPECT_EQ(t.vocab_size(), size + 2);
  EXPECT_EQ(t.encode("<|first|><|second|>a", kParse), (std::vector<int32_t>{size, size + 1, word}));
  EXPECT_EQ(t.decode(t.encode("<|first|><|second|>", kParse), true), "<|first|>");
}

TEST(AddedTokens, EveryFlagActsAsInHuggingFace) {
  const nlohmann::json golden = fixture_json("added.json");
  nlohmann::json file = nlohmann::json::parse(read_text_file(fixture("small/tokenizer.json")));
  for (const auto& token : golden["added_tokens"]) file["added_tokens"].push_back(token);
  const Tokenizer tokenizer = Tokenizer::from_json(file.dump(), "added.json");
  for (const auto& c : golden["cases"]) {
    const std::string text = c["text"];
    EXPECT_EQ(tokenizer.encode(text, kParse), c["ids"].get<std::vector<int32_t>>()) << text;
  }
}

}  // namespace
}  // namespace fathom
