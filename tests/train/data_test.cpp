#include "train/data.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "base/thread_pool.h"
#include "byte_encoder.h"
#include "temporary_directory.h"

namespace fathom::train {
namespace {

class TokenDatasetTest : public testing::Test {
 protected:
  TokenDatasetTest() {
    std::string lines;
    for (int i = 0; i < 200; ++i) lines += "{\"text\":\"<" + std::to_string(1000 + i) + ">\"}\n";
    write_quickly(dir_ / "a.jsonl", lines);
    options_.data.train = {dir_ / "a.jsonl"};
    options_.data.seq_len = 16;
    options_.data.fim_rate = 0;
    options_.data.valid_fraction = 0.1;
    options_.mtp_depth = 2;
    options_.vocab_size = 300;
    options_.cache_dir = dir_ / "cache";
  }

  TokenDataset open() { return TokenDataset::open(options_, encoder_, pool_); }
  std::string error_of() {
    try {
      open();
    } catch (const Error& e) {
      return std::string(e.what()) + " | " + e.hint();
    }
    return "no error";
  }
  void expect_error(const std::string& part) {
    const std::string error = error_of();
    EXPECT_NE(error.find(part), std::string::npos) << part << " in: " << error;
  }
  /// The text of row r without its lookahead.
  static std::string row(const Batch& batch, int64_t r) {
    const auto begin = batch.tokens.begin() + r * (batch.seq_len + batch.lookahead);
    return text_of({begin, begin + batch.seq_len});
  }

  TemporaryDirectory dir_{"data"};
  DatasetOptions options_;
  TextEncoder encoder_ = byte_encoder();
  ThreadPool pool_{2};
};

TEST_F(TokenDatasetTest, WindowsAreConsecutiveAndLookAhead) {
  options_.data.shuffle = false;
  TokenDataset dataset = open();
  // 180 documents of 8 tokens, a window of 16 needs 3 more.
  EXPECT_EQ(dataset.train_tokens(), 180 * 8);
  EXPECT_EQ(dataset.train_samples_per_epoch(), (180 * 8 - 3) / 16);
  const Batch batch = dataset.train_batch(0, dataset.train_samples_per_epoch());
  EXPECT_EQ(batch.seq_len, 16);
  EXPECT_EQ(batch.lookahead, 3);
  ASSERT_EQ(batch.tokens.size(), static_cast<size_t>(batch.sequences * 19));
  for (int64_t s = 0; s + 1 < batch.sequences; ++s)
    for (int64_t i = 0; i < 3; ++i)
      EXPECT_EQ(batch.tokens[static_cast<size_t>(s * 19 + 16 + i)],
                batch.tokens[static_cast<size_t>((s + 1) * 19 + i)]);
  EXPECT_EQ(row(batch, 0).substr(0, 2), "^<");
}

TEST_F(TokenDatasetTest, AnEpochReadsEveryDocumentOnceInAnotherOrder) {
  TokenDataset dataset = open();
  const int64_t samples = dataset.train_samples_per_epoch();
  const auto documents_in = [&](int64_t epoch) {
    const Batch batch = dataset.train_batch(epoch * samples, samples);
    std::map<std::string, int> counts;
    for (int64_t s = 0; s < samples; ++s)
      for (const std::string text = row(batch, s); const char* half : {"0", "8"}) {
        const std::string document = text.substr(half[0] == '0' ? 0 : 8, 8);
        EXPECT_EQ(document.substr(0, 2), "^<") << "documents of 8 tokens align with windows of 16";
        ++counts[document];
      }
    return counts;
  };
  for (int64_t epoch = 0; epoch < 3; ++epoch)
    for (const auto& [document, count] : documents_in(epoch)) EXPECT_EQ(count, 1) << document;
  EXPECT_NE(dataset.train_batch(0, 4).tokens, dataset.train_batch(samples, 4).tokens);
}

TEST_F(TokenDatasetTest, SamplesAreAFunctionOfSeedAndNumberAlone) {
  TokenDataset dataset = open();
  const int64_t samples = dataset.train_samples_per_epoch();
  const Batch whole = dataset.train_batch(samples - 3, 7);  // into the next epoch
  TokenDataset resumed = open();
  std::vector<int32_t> pieces;
  for (int64_t i = 0; i < 7; ++i) {
    const Batch one = resumed.train_batch(samples - 3 + i, 1);
    pieces.insert(pieces.end(), one.tokens.begin(), one.tokens.end());
  }
  EXPECT_EQ(pieces, whole.tokens);
  options_.seed = 1;
  EXPECT_NE(open().train_batch(samples - 3, 7).tokens, whole.tokens);
}

TEST_F(TokenDatasetTest, HeldOutDocumentsAreNeverTrainedOnAndDoNotDependOnTheSeed) {
  const TokenDataset dataset = open();
  const Batch valid = dataset.valid_batch(0, dataset.valid_samples());
  EXPECT_EQ(dataset.valid_samples(), (20 * 8 - 3) / 16);
  EXPECT_DOUBLE_EQ(dataset.valid_bytes_per_token(), 6.0 / 8.0);
  options_.seed = 77;
  options_.data.fim_rate = 1;
  TokenDataset other = open();
  EXPECT_EQ(other.valid_batch(0, other.valid_samples()).tokens, valid.tokens);
  options_.data.fim_rate = 0;
  TokenDataset plain = open();
  const Batch train = plain.train_batch(0, plain.train_samples_per_epoch());
  std::string all;
  for (int64_t s = 0; s < train.sequences; ++s) all += row(train, s);
  for (int64_t s = 0; s < valid.sequences; ++s)
    EXPECT_EQ(all.find(row(valid, s).substr(0, 8)), std::string::npos) << row(valid, s);
}

TEST_F(TokenDatasetTest, ASeparateHeldOutFileOrNone) {
  write_quickly(dir_ / "v.txt", "a separate text to measure the loss on");
  options_.data.valid = {dir_ / "v.txt"};
  const TokenDataset separate = open();
  EXPECT_EQ(row(separate.valid_batch(0, 1), 0), "^a separate text");
  EXPECT_EQ(separate.train_tokens(), 200 * 8) << "nothing is split off then";
  options_.data.valid = {};
  options_.data.valid_fraction = 0;
  EXPECT_EQ(open().valid_samples(), 0);
}

TEST_F(TokenDatasetTest, UnusableDataIsOneClearError) {
  options_.vocab_size = 260;
  expect_error("bytes has 261 tokens, the model's vocab_size is 260");
  options_.vocab_size = 300;
  options_.data.seq_len = 1439;
  expect_error("the training text has 1440 tokens, one sample needs 1442");
  options_.data.seq_len = 400;
  expect_error("the held-out text has 160 tokens, one sample needs 403");
  options_.data.seq_len = 16;
  options_.data.valid = {dir_.path()};
  expect_error("a.jsonl is in both data.train and data.valid");
  options_.data.valid = {};
  options_.data.fim_rate = 0.1;
  encoder_.fim.reset();
  expect_error("data.fim_rate = 0.1, but bytes has no <｜fim▁begin｜>");
  options_.data.fim_rate = 0;
  options_.data.train = {dir_ / "missing.txt"};
  expect_error("missing.txt");
  options_.cache_dir = "/proc/none/cache";
  expect_error("/proc/none/cache");
}

}  // namespace
}  // namespace fathom::train
