#include "train/data_encoder.h"

#include <gtest/gtest.h>

#include "byte_encoder.h"

namespace fathom::train {
namespace {

TEST(EncodeDocument, IsWrapped) {
  EXPECT_EQ(text_of(encode_document(byte_encoder(), "ab")), "^ab$");
  TextEncoder without_bos = byte_encoder();
  without_bos.bos = -1;
  EXPECT_EQ(text_of(encode_document(without_bos, "ab")), "ab$");
}

TEST(EncodeFimDocument, IsPrefixSuffixMiddle) {
  const std::string text = "the quick brown fox";
  int whole = 0;
  for (uint64_t document = 0; document < 200; ++document) {
    const std::string fim = text_of(encode_fim_document(byte_encoder(), text, 3, document));
    const size_t hole = fim.find('H'), end = fim.find('E');
    ASSERT_EQ(fim.substr(0, 2), "^B");
    ASSERT_EQ(fim.back(), '$');
    const std::string prefix = fim.substr(2, hole - 2);
    const std::string suffix = fim.substr(hole + 1, end - hole - 1);
    const std::string middle = fim.substr(end + 1, fim.size() - end - 2);
    EXPECT_EQ(prefix + middle + suffix, text);
    whole += middle.empty();
  }
  EXPECT_LT(whole, 40) << "the cuts are spread over the text";
}

TEST(EncodeFimDocument, NeverCutsInsideACharacter) {
  const std::string text = "äöü中文字😀";
  for (uint64_t document = 0; document < 100; ++document) {
    bool starts = true;
    for (const int32_t id : encode_fim_document(byte_encoder(), text, 3, document)) {
      const bool continuation = id < 256 && (id & 0xC0) == 0x80;
      EXPECT_FALSE(starts && continuation);
      starts = id >= 256;
    }
  }
}

TEST(EncodeFimDocument, DependsOnSeedAndDocument) {
  const std::string text(1000, 'x');
  const auto first = encode_fim_document(byte_encoder(), text, 1, 1);
  EXPECT_EQ(first, encode_fim_document(byte_encoder(), text, 1, 1));
  EXPECT_NE(first, encode_fim_document(byte_encoder(), text, 1, 2));
  EXPECT_NE(first, encode_fim_document(byte_encoder(), text, 2, 1));
}

TEST(ChosenForFim, HasTheRateAskedFor) {
  int chosen = 0;
  for (uint64_t document = 0; document < 10'000; ++document)
    chosen += chosen_for_fim(5, document, 0.1);
  EXPECT_NEAR(chosen, 1000, 5 * 30);  // five standard deviations, sqrt(n p (1-p)) = 30
  EXPECT_FALSE(chosen_for_fim(5, 1, 0));
  EXPECT_TRUE(chosen_for_fim(5, 1, 1));
}

}  // namespace
}  // namespace fathom::train
