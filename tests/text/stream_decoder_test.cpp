#include "text/stream_decoder.h"

#include <gtest/gtest.h>

#include "fixtures.h"

namespace fathom {
namespace {

class StreamDecoderTest : public testing::TestWithParam<const char*> {
 protected:
  Tokenizer tokenizer = Tokenizer::load(fixture(GetParam()));
};
INSTANTIATE_TEST_SUITE_P(Files, StreamDecoderTest, testing::Values("small", "tiktoken"));

TEST_P(StreamDecoderTest, EveryPartIsValidAndTheWholeIsTheText) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const std::string text = random_text(seed, 500, seed % 2 == 0);
    StreamDecoder decoder(tokenizer);
    std::string all;
    for (int32_t id : tokenizer.encode(text)) {
      const std::string part = decoder.add(id);
      ASSERT_EQ(part, replace_invalid_utf8(part));
      all += part;
    }
    all += decoder.finish();
    EXPECT_EQ(all, replace_invalid_utf8(text));
  }
}

TEST_P(StreamDecoderTest, WaitsForTheRestOfASequence) {
  StreamDecoder decoder(tokenizer);
  const std::vector<int32_t> ids = tokenizer.encode("\U0001FAE8");
  ASSERT_GE(ids.size(), 2u);  // the vocabulary has no token of its four bytes
  for (size_t i = 0; i + 1 < ids.size(); ++i) EXPECT_EQ(decoder.add(ids[i]), "");
  EXPECT_EQ(decoder.add(ids.back()), "\U0001FAE8");
  EXPECT_EQ(decoder.add(ids[0]), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
  EXPECT_EQ(decoder.finish(), "");
}

/// Any ids at all, as a model may sample them: every part is valid UTF-8, and never is more than an
/// unfinished sequence held back.
TEST_P(StreamDecoderTest, AnyIdsGiveValidText) {
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    StreamDecoder decoder(tokenizer);
    std::vector<int32_t> ids(random() % 60);
    std::string all;
    for (int32_t& id : ids) {
      const auto bytes = static_cast<uint32_t>(round % 2 == 0 ? 300 : tokenizer.vocab_size());
      id = static_cast<int32_t>(random() % bytes);
      const std::string part = decoder.add(id);
      ASSERT_EQ(part, replace_invalid_utf8(part));
      all += part;
    }
    const std::string rest = decoder.finish();
    EXPECT_LE(rest.size(), 3u);
    EXPECT_EQ(all + rest, replace_invalid_utf8(tokenizer.decode(ids)));
  }
}

TEST(Utf8Stream, HoweverItIsCut) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    const std::string text = random_text(seed, 300, false);
    std::mt19937 random(seed);
    Utf8Stream stream;
    std::string all;
    for (size_t at = 0; at < text.size();) {
      const size_t size = random() % 7;
      const std::string part = stream.add(std::string_view(text).substr(at, size));
      ASSERT_EQ(part, replace_invalid_utf8(part));
      all += part;
      at += size;
    }
    EXPECT_EQ(all + stream.finish(), replace_invalid_utf8(text));
  }
}

TEST_P(StreamDecoderTest, LeavesSpecialTokensOutOnRequest) {
  StreamDecoder decoder(tokenizer, true);
  EXPECT_EQ(decoder.add(tokenizer.eos_id()), "");
  EXPECT_EQ(StreamDecoder(tokenizer).add(tokenizer.eos_id()),
            tokenizer.token_bytes(tokenizer.eos_id()));
}

}  // namespace
}  // namespace fathom
