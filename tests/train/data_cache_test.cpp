#include "train/data_cache.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/thread_pool.h"
#include "byte_encoder.h"
#include "temporary_directory.h"

namespace fathom::train {
namespace {
namespace fs = std::filesystem;

class TokenCacheTest : public testing::Test {
 protected:
  TokenCacheTest() { write_quickly(text_, "{\"text\":\"hello\"}\n{\"text\":\"wörld\"}\n"); }

  StreamRecipe recipe() { return {find_source_files(std::vector{text_}), Part::kAll, 0, 0, 0}; }
  TokenCache build() { return TokenCache::open_or_build(cache_, recipe(), encoder_, pool_); }
  bool usable() { return TokenCache::open(cache_, recipe(), encoder_).has_value(); }
  static std::string read(const TokenCache& cache) {
    std::vector<int32_t> ids(static_cast<size_t>(cache.tokens()));
    cache.copy(0, cache.tokens(), ids.data());
    return text_of(ids);
  }
  void set_encoder(int32_t vocab_size) { encoder_.vocab_size = vocab_size; }

  TemporaryDirectory dir_{"data_cache"};
  fs::path text_ = dir_ / "a.jsonl", cache_ = dir_ / "a.tokens";
  TextEncoder encoder_ = byte_encoder();
  ThreadPool pool_{3};
};

TEST_F(TokenCacheTest, HoldsTheDocumentsInOrder) {
  for (const int32_t vocab_size : {261, 100'000}) {  // 2 and 4 bytes an id
    set_encoder(vocab_size);
    const TokenCache cache = build();
    EXPECT_EQ(read(cache), "^hello$^wörld$");
    EXPECT_EQ(cache.documents(), 2);
    EXPECT_EQ(cache.document_begin(0), 0);
    EXPECT_EQ(cache.document_begin(1), 7);
    EXPECT_EQ(cache.document_begin(2), 15);
    EXPECT_EQ(cache.text_bytes(), 11);
    EXPECT_TRUE(usable());
  }
}

TEST_F(TokenCacheTest, IsReusedAndRebuiltWhenTheTextChanges) {
  int encoded = 0;
  encoder_.encode = [&, plain = encoder_.encode](std::string_view text) {
    ++encoded;
    return plain(text);
  };
  ThreadPool one(1);
  const auto open = [&] { return TokenCache::open_or_build(cache_, recipe(), encoder_, one); };
  open();
  open();
  EXPECT_EQ(encoded, 2);
  fs::last_write_time(text_, fs::last_write_time(text_) + std::chrono::hours(1));
  open();
  EXPECT_EQ(encoded, 2) << "touched, with the same content";
  write_quickly(text_, "{\"text\":\"HELLO\"}\n{\"text\":\"wörld\"}\n");
  fs::last_write_time(text_, fs::last_write_time(text_) + std::chrono::hours(2));
  EXPECT_EQ(read(open()), "^HELLO$^wörld$") << "same size, other content";
}

TEST_F(TokenCacheTest, OtherSettingsMakeItStale) {
  build();
  const auto stale = [&](StreamRecipe other) {
    return !TokenCache::open(cache_, other, encoder_).has_value();
  };
  StreamRecipe other = recipe();
  other.seed = 9;
  EXPECT_FALSE(stale(other)) << "the seed matters to FIM only";
  other.fim_rate = 0.5;
  EXPECT_TRUE(stale(other));
  other = recipe();
  other.part = Part::kTraining;
  EXPECT_TRUE(stale(other));
  encoder_.fingerprint = "another tokenizer";
  EXPECT_TRUE(stale(recipe()));
}

TEST_F(TokenCacheTest, DamageIsDetectedAndRepaired) {
  build();
  const std::string whole = read_text_file(cache_);
  for (size_t size = 0; size < whole.size(); size += 7) {
    write_quickly(cache_, whole.substr(0, size));
    EXPECT_FALSE(usable()) << "cut to " << size;
  }
  // Everything but the ids themselves is covered by the checksum, sizes or magic.
  const size_t ids_end = 8 + 15 * 2;
  for (size_t at = 0; at < whole.size(); ++at) {
    if (at >= 8 && at < ids_end + 2) continue;
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    write_quickly(cache_, damaged);
    EXPECT_FALSE(usable()) << "byte " << at;
  }
  EXPECT_EQ(read(build()), "^hello$^wörld$");
}

TEST_F(TokenCacheTest, AnIdOutsideTheVocabularyIsNeverHandedOut) {
  build();
  std::string damaged = read_text_file(cache_);
  damaged[9] = '\x7f';  // the high byte of the first id
  write_quickly(cache_, damaged);
  const auto cache = TokenCache::open(cache_, recipe(), encoder_);
  ASSERT_TRUE(cache);
  EXPECT_THROW(read(*cache), Error);
  encoder_.vocab_size = 50;  // an encoder that breaks its own promise
  EXPECT_THROW(build(), Error);
}

TEST_F(TokenCacheTest, TheFirstBadDocumentIsReportedAndNothingIsWritten) {
  std::string lines;
  for (int i = 0; i < 100; ++i) lines += i == 40 || i == 70 ? "{broken\n" : "{\"text\":\"fine\"}\n";
  write_quickly(text_, lines);
  try {
    build();
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("a.jsonl:41:"), std::string::npos) << e.what();
  }
  for (const auto& entry : fs::directory_iterator(dir_.path())) EXPECT_EQ(entry.path(), text_);
}

TEST_F(TokenCacheTest, ThreadsDoNotChangeTheResult) {
  std::string lines;
  for (int i = 0; i < 300; ++i)
    lines += "{\"text\":\"" + std::string(static_cast<size_t>(i), 'x') + "\"}\n";
  write_quickly(text_, lines);
  StreamRecipe fim = recipe();
  fim.fim_rate = 0.5;
  ThreadPool one(1);
  const std::string serial = read(TokenCache::open_or_build(dir_ / "1", fim, encoder_, one));
  const std::string parallel = read(TokenCache::open_or_build(dir_ / "3", fim, encoder_, pool_));
  EXPECT_EQ(serial, parallel);
  EXPECT_NE(serial.find('H'), std::string::npos) << "half of the documents are rearranged";
}

}  // namespace
}  // namespace fathom::train
