#include "text/gguf_vocabulary.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "fixtures.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

/// A tokenizer.json's vocabulary as llama.cpp's converter stores it.
GgufVocabulary vocabulary_of(const std::string& directory) {
  const nlohmann::json json = fixture_json(directory + "/tokenizer.json");
  GgufVocabulary v;
  v.model = "gpt2";
  v.pre = "deepseek-v3";
  const auto put = [&](size_t id, const std::string& token, int32_t type) {
    v.tokens.resize(std::max(v.tokens.size(), id + 1));
    v.types.resize(v.tokens.size(), GgufVocabulary::kUnused);
    v.tokens[id] = token;
    v.types[id] = type;
  };
  for (const auto& [token, id] : json["model"]["vocab"].items())
    put(id.get<size_t>(), token, GgufVocabulary::kNormal);
  for (const auto& token : json["added_tokens"])
    put(token["id"].get<size_t>(), token["content"].get<std::string>(),
        token["special"] ? GgufVocabulary::kControl : GgufVocabulary::kUserDefined);
  for (const auto& merge : json["model"]["merges"])
    v.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  v.bos_id = 0;
  v.eos_id = 1;
  v.add_bos = true;
  v.add_eos = false;
  v.chat_template = "{{ bos_token }}";
  return v;
}

std::string error_of(const GgufVocabulary& vocabulary) {
  try {
    Tokenizer::from_gguf(vocabulary, "m.gguf");
  } catch (const Error& e) {
    EXPECT_NE(e.hint().find("--tokenizer"), std::string::npos) << e.hint();
    return e.what();
  }
  return "no error";
}

TEST(GgufVocabulary, GivesTheIdsOfTheFileItWasMadeFrom) {
  const Tokenizer original = Tokenizer::load(fixture("small"));
  const Tokenizer gguf = Tokenizer::from_gguf(vocabulary_of("small"), "m.gguf");
  EXPECT_EQ(gguf.vocab_size(), original.vocab_size());
  EXPECT_EQ(gguf.bos_id(), original.bos_id());
  EXPECT_EQ(gguf.eos_id(), original.eos_id());
  EXPECT_EQ(gguf.chat_template(), "{{ bos_token }}");
  for (uint32_t seed = 0; seed < 30; ++seed) {
    const std::string text = random_text(seed, 2000, false);
    for (const EncodeOptions options : {EncodeOptions{}, EncodeOptions{true, true}}) {
      const std::vector<int32_t> ids = gguf.encode(text, options);
      EXPECT_EQ(ids, original.encode(text, options));
      EXPECT_EQ(gguf.decode(ids), original.decode(ids));
    }
  }
}

TEST(GgufVocabulary, IsWrittenAsTheTokenizerItIs) {
  GgufVocabulary v = vocabulary_of("small");
  v.tokens.push_back("[a hole]");
  v.types.push_back(GgufVocabulary::kUnused);
  const std::filesystem::path directory = testing::TempDir() + "gguf_vocabulary_test";
  for (const char* pre : {"deepseek-v3", "deepseek-llm", "kimi-k2"})
    for (const bool add_bos : {true, false}) {
      v.pre = pre;
      v.add_bos = add_bos;
      save_tokenizer(v, "m.gguf", directory);
      const Tokenizer gguf = Tokenizer::from_gguf(v, "m.gguf"),
                      written = Tokenizer::load(directory);
      EXPECT_EQ(written.vocab_size(), gguf.vocab_size());
      EXPECT_EQ(written.chat_template(), gguf.chat_template());
      EXPECT_EQ(written.eos_id(), gguf.eos_id());
      for (uint32_t seed = 0; seed < 10; ++seed) {
        const std::string text = random_text(seed, 2000, false);
        for (const EncodeOptions options : {EncodeOptions{}, EncodeOptions{true, true}}) {
          const std::vector<int32_t> ids = written.encode(text, options);
          EXPECT_EQ(ids, gguf.encode(text, options));
          EXPECT_EQ(written.decode(ids), gguf.decode(ids));
        }
      }
    }
  std::filesystem::remove_all(directory);
  v.pre = "unknown";
  EXPECT_THROW(save_tokenizer(v, "m.gguf", directory), Error);
}

TEST(GgufVocabulary, EveryKnownPatternCutsAndJoins) {
  GgufVocabulary v = vocabulary_of("small");
  for (const char* pre : {"deepseek-v3", "deepseek-llm", "deepseek-coder", "kimi-k2"}) {
    EXPECT_NE(known_gguf_patterns().find(pre), std::string::npos);
    v.pre = pre;
    const Tokenizer tokenizer = Tokenizer::from_gguf(v, "m.gguf");
    const std::string text = random_text(3, 5000, true);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

TEST(GgufVocabulary, SaysWhatIsWrong) {
  const auto expect = [](const std::string& part, auto&& change) {
    GgufVocabulary v = vocabulary_of("small");
    change(v);
    const std::string error = error_of(v);
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  expect("m.gguf: tokenizer.ggml.model: \"llama\" is not read", [](auto& v) { v.model = "llama"; });
  expect("tokenizer.ggml.pre: \"olmo\" is not known; known are deepseek-v3, deepseek-llm",
         [](auto& v) { v.pre = "olmo"; });
  expect("tokenizer.ggml.token_type: has 3 entries", [](auto& v) { v.types.resize(3); });
  expect("no token for the byte 0x41", [](auto& v) {
    std::replace(v.tokens.begin(), v.tokens.end(), std::string("A"), std::string("AAAAA"));
  });
  expect("\"dup\" has the ids", [](auto& v) { v.tokens[600] = v.tokens[601] = "dup"; });
  expect("is not two tokens", [](auto& v) { v.merges[5] = "whole"; });
  expect("\"q zebra\" needs the token \"zebra\"", [](auto& v) { v.merges[5] = "q zebra"; });
  expect("tokenizer.ggml.bos_token_id is 9999", [](auto& v) { v.bos_id = 9999; });
  expect("tokenizer.ggml.add_eos_token is true", [](auto& v) {
    v.eos_id.reset();
    v.add_eos = true;
  });
}

}  // namespace
}  // namespace fathom
