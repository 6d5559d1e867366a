#include "text/stream_decoder.h"

#include <gtest/gtest.h>

#include "fixtures.h"

namespace fathom {
namespace {

class StreamDecoderTest : public testing::Test {
 protected:
  Tokenizer tokenizer = Tokenizer::load(fixture("small"));
};

TEST_F(StreamDecoderTest, EveryPartIsValidAndTheWholeIsTheText) {
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

TEST_F(StreamDecoderTest, WaitsForTheRestOfASequence) {
  StreamDecoder decoder(tokenizer);
  const std::vector<int32_t> ids = tokenizer.encode("\U0001FAE8");
  ASSERT_GE(ids.size(), 2u);  // the vocabulary has no token of its four bytes
  for (size_t i = 0; i + 1 < ids.size(); ++i) EXPECT_EQ(decoder.add(ids[i]), "");
  EXPECT_EQ(decoder.add(ids.back()), "\U0001FAE8");
  EXPECT_EQ(decoder.add(ids[0]), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
  EXPECT_EQ(decoder.finish(), "");
}

TEST_F(StreamDecoderTest, LeavesSpecialTokensOutOnRequest) {
  StreamDecoder decoder(tokenizer, true);
  EXPECT_EQ(decoder.add(tokenizer.eos_id()), "");
  EXPECT_EQ(StreamDecoder(tokenizer).add(tokenizer.eos_id()), "<｜end▁of▁sentence｜>");
}

}  // namespace
}  // namespace fathom
