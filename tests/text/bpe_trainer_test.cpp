#include "text/bpe_trainer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "fixtures.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

TrainedBpe train(std::string_view text, int32_t vocab_size, int threads = 1) {
  ThreadPool pool(threads);
  return train_bpe({&text, 1}, vocab_size, pool);
}

TEST(BpeTrainer, LearnsTheMostFrequentPairFirst) {
  const TrainedBpe bpe = train("aab aab aab xy", 264 + 3);
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"a", "a"}, {"aa", "b"}, {" ", "aab"}};
  EXPECT_EQ(bpe.merges, expected);
  EXPECT_EQ(bpe.tokens, (std::vector<std::string>{"aa", "aab", " aab"}));
  EXPECT_EQ(bpe.vocab_size(), 267);
}

TEST(BpeTrainer, OverlappingPairs) {
  const TrainedBpe bpe = train("aaaaaaaa aaaaaaaa", 264 + 2);
  EXPECT_EQ(bpe.tokens[0], "aa");
  EXPECT_EQ(bpe.tokens[1], "aaaa");
}

TEST(BpeTrainer, SameResultForAnyNumberOfThreads) {
  const std::string text = random_text(1, 600000, false);
  const TrainedBpe one = train(text, 600, 1), three = train(text, 600, 3);
  EXPECT_EQ(one.merges, three.merges);
  EXPECT_EQ(one.tokens, three.tokens);
}

/// Every merge must be the one that a naive recount of all pairs finds most frequent.
TEST(BpeTrainer, AgreesWithCountingAllPairsAnew) {
  const std::string text = random_text(2, 4000, true);
  PreTokenizer::Scratch scratch;
  std::vector<std::vector<std::string>> words;
  const PreTokenizer v3 = PreTokenizer::deepseek_v3();
  for (const TextSpan& s : v3.split(text, scratch)) {
    words.emplace_back();
    for (size_t i = s.begin; i < s.end; ++i) words.back().push_back(text.substr(i, 1));
  }
  const TrainedBpe bpe = train(text, 264 + 60);
  for (const auto& merge : bpe.merges) {
    std::map<std::pair<std::string, std::string>, int> counts;
    for (const auto& word : words) {
      for (size_t i = 0; i + 1 < word.size(); ++i) ++counts[{word[i], word[i + 1]}];
    }
    for (const auto& [pair, count] : counts) ASSERT_LE(count, counts[merge]);
    for (auto& word : words) {
      for (size_t i = 0; i + 1 < word.size(); ++i) {
        if (word[i] != merge.first || word[i + 1] != merge.second) continue;
        word[i] += word[i + 1];
        word.erase(word.begin() + static_cast<int64_t>(i) + 1);
      }
    }
  }
}

TEST(BpeTrainer, WhatItWritesLoads) {
  const std::string text = random_text(3, 100000, true);
  const TrainedBpe bpe = train(text, 500);
  const Tokenizer tokenizer =
      Tokenizer::from_json(tokenizer_json(bpe), "trained", tokenizer_config_json());
  EXPECT_EQ(tokenizer.vocab_size(), 500);
  EXPECT_EQ(tokenizer.bos_id(), 0);
  EXPECT_EQ(tokenizer.eos_id(), 1);
  EXPECT_EQ(tokenizer.pad_id(), 2);
  EXPECT_EQ(tokenizer.require_id(kFimHoleToken), 495);
  EXPECT_EQ(tokenizer.require_id(kUserToken), 498);
  EXPECT_EQ(tokenizer.require_id(kAssistantToken), 499);
  EXPECT_EQ(tokenizer.token_bytes(3), "!");
  EXPECT_EQ(tokenizer.encode("", {.add_special_tokens = true}), std::vector<int32_t>{0});
  const std::vector<int32_t> ids = tokenizer.encode(text);
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_LT(ids.size(), text.size() * 8 / 10);
}

TEST(BpeTrainer, VocabularySizesThatCannotBe) {
  EXPECT_THROW(train("some text", 263), Error);
  EXPECT_EQ(train("some text", 264).merges.size(), 0u);
  try {
    train("ab ab", 1000);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.hint(), "ask for --vocab-size 265 at most, or give more text");
  }
  EXPECT_EQ(train("ab ab", 265).tokens, std::vector<std::string>{"ab"});
}

TEST(BpeTrainer, FilesThatAreNoText) {
  const std::filesystem::path directory =
      std::filesystem::path(testing::TempDir()) / ("bpe" + std::to_string(getpid()));
  make_directories(directory);
  write_text_file(directory / "empty.txt", "");
  write_text_file(directory / "binary.txt", std::string_view("text\0more", 9));
  write_text_file(directory / "good.txt", "ab ab ab");
  ThreadPool pool(1);
  const auto train_file = [&](const char* name) {
    const std::filesystem::path path = directory / name;
    return train_bpe_files({&path, 1}, 265, pool);
  };
  EXPECT_THROW(train_file("empty.txt"), Error);
  EXPECT_THROW(train_file("binary.txt"), Error);
  EXPECT_THROW(train_file("missing.txt"), Error);
  save_tokenizer(train_file("good.txt"), directory / "out");
  EXPECT_EQ(Tokenizer::load(directory / "out").vocab_size(), 265);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace fathom
