#include "text/tokenizer_file.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "fixtures.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

using Json = nlohmann::json;

const Json& small() {
  static const Json file = Json::parse(read_text_file(fixture("small/tokenizer.json")));
  return file;
}

/// The error that this change to the small tokenizer.json causes; empty: none.
std::string error_of(const std::function<void(Json&)>& change) {
  Json file = small();
  change(file);
  try {
    parse_tokenizer_json(file.dump(), "t.json");
  } catch (const Error& e) {
    EXPECT_FALSE(e.hint().empty()) << e.what();
    return e.what();
  }
  return {};
}

void expect_error(const std::string& expected, const std::function<void(Json&)>& change) {
  const std::string error = error_of(change);
  EXPECT_NE(error.find(expected), std::string::npos)
      << "expected: " << expected << "\nfound:    " << error;
}

TEST(TokenizerFile, NotJson) {
  for (const char* text : {"", "{", "\xFF", "[1,2", "{\"a\": 1,}"}) {
    EXPECT_THROW(parse_tokenizer_json(text, "t.json"), Error) << text;
  }
  EXPECT_THROW(parse_tokenizer_json("[]", "t.json"), Error);
  EXPECT_THROW(parse_tokenizer_json("{}", "t.json"), Error);
}

TEST(TokenizerFile, Merges) {
  expect_error("t.json: model.merges: missing", [](Json& f) { f["model"].erase("merges"); });
  expect_error("t.json: model.merges: no merge makes the token",
               [](Json& f) { f["model"]["merges"] = Json::array(); });
  expect_error("no merge makes the token", [](Json& f) { f["model"]["merges"].erase(100); });
  expect_error("needs the token \"zq\"", [](Json& f) {
    f["model"]["merges"].push_back({"z", "q"});
  });
  expect_error("model.merges[1]: expected two tokens",
               [](Json& f) { f["model"]["merges"][1] = "ab"; });
  expect_error("expected two tokens", [](Json& f) { f["model"]["merges"][1] = "a b c"; });
  expect_error("expected two tokens", [](Json& f) { f["model"]["merges"][1] = Json{"a"}; });
  expect_error("expected a list, found 7", [](Json& f) { f["model"]["merges"] = 7; });
}

TEST(TokenizerFile, MergesAsPairsOrStringsAreTheSame) {
  Json pairs = small(), strings = small();
  for (size_t i = 0; i < pairs["model"]["merges"].size(); ++i) {
    const Json merge = small()["model"]["merges"][i];
    const std::string left = merge[0], right = merge[1];
    strings["model"]["merges"][i] = left + " " + right;
  }
  const std::string text = random_text(1, 2000, true);
  EXPECT_EQ(Tokenizer::from_json(pairs.dump(), "a").encode(text),
            Tokenizer::from_json(strings.dump(), "b").encode(text));
}

TEST(TokenizerFile, Vocabulary) {
  expect_error("share the id 300", [](Json& f) { f["model"]["vocab"]["!"] = 300; });
  expect_error("no token has the id", [](Json& f) { f["model"]["vocab"]["zzz"] = 2000000000; });
  expect_error("expected a token id, found -1", [](Json& f) { f["model"]["vocab"]["!"] = -1; });
  expect_error("expected a token id, found \"x\"", [](Json& f) { f["model"]["vocab"]["!"] = "x"; });
  expect_error("expected a token id", [](Json& f) { f["model"]["vocab"]["!"] = 1.5; });
  expect_error("expected an object", [](Json& f) { f["model"]["vocab"] = Json::array(); });
  expect_error("no token for the byte", [](Json& f) {
    const Json id = f["model"]["vocab"]["\u0121"];  // the byte 0x7f
    f["model"]["vocab"].erase("\u0121");
    f["model"]["vocab"]["\u0121\u0121"] = id;
  });
}

TEST(TokenizerFile, AddedTokens) {
  expect_error("added_tokens[0].id", [](Json& f) { f["added_tokens"][0]["id"] = 5; });
  expect_error("added_tokens[3].content: an empty token",
               [](Json& f) { f["added_tokens"][3]["content"] = ""; });
  expect_error("added_tokens[3].special: missing",
               [](Json& f) { f["added_tokens"][3].erase("special"); });
  expect_error("expected true or false", [](Json& f) { f["added_tokens"][3]["lstrip"] = 1; });
  expect_error("no token has the id", [](Json& f) { f["added_tokens"].erase(3); });
}

TEST(TokenizerFile, UnsupportedSettings) {
  expect_error("model.type: \"Unigram\" is not supported",
               [](Json& f) { f["model"]["type"] = "Unigram"; });
  expect_error("model.byte_fallback", [](Json& f) { f["model"]["byte_fallback"] = true; });
  expect_error("model.dropout", [](Json& f) { f["model"]["dropout"] = 0.1; });
  expect_error("model.end_of_word_suffix",
               [](Json& f) { f["model"]["end_of_word_suffix"] = "</w>"; });
  expect_error("model.surprise: unknown field", [](Json& f) { f["model"]["surprise"] = 1; });
  expect_error("normalizer", [](Json& f) { f["normalizer"] = {{"type", "NFC"}}; });
  expect_error("decoder.type", [](Json& f) { f["decoder"] = {{"type", "Metaspace"}}; });
  expect_error("truncation", [](Json& f) { f["truncation"] = {{"max_length", 5}}; });
  expect_error("pre_tokenizer.type", [](Json& f) { f["pre_tokenizer"] = {{"type", "Metaspace"}}; });
  expect_error("pretokenizers[0].pattern.Regex: pattern \"(\", offset 1: missing )",
               [](Json& f) { f["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "("; });
  expect_error("behavior",
               [](Json& f) { f["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Shuffled"; });
  expect_error("add_prefix_space",
               [](Json& f) { f["pre_tokenizer"]["pretokenizers"][3]["add_prefix_space"] = true; });
  expect_error("no ByteLevel step", [](Json& f) { f["pre_tokenizer"]["pretokenizers"].erase(3); });
  expect_error("post_processor.type", [](Json& f) { f["post_processor"] = {{"type", "Bert"}}; });
}

TEST(TokenizerFile, DigitsAndStringPatterns) {
  Json file = small();
  file["pre_tokenizer"]["pretokenizers"] = {{{"type", "Digits"}, {"individual_digits", true}},
                                            {{"type", "Split"},
                                             {"pattern", {{"String", "+("}}},
                                             {"behavior", "Isolated"},
                                             {"invert", false}},
                                            {{"type", "ByteLevel"},
                                             {"add_prefix_space", false},
                                             {"trim_offsets", true},
                                             {"use_regex", true}}};
  const PreTokenizer pre(parse_tokenizer_json(file.dump(), "t.json").split_steps);
  PreTokenizer::Scratch scratch;
  EXPECT_EQ(pre.split("12+(ab'll c", scratch).size(), 6u);
  EXPECT_EQ(pre.split("12+(ab'l c", scratch)[2], (TextSpan{2, 4}));
}

TEST(TokenizerFile, TemplateAroundTheText) {
  Json file = small();
  file["post_processor"] = Json::parse(R"({"type": "Sequence", "processors": [
      {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
      {"type": "TemplateProcessing", "pair": [], "special_tokens":
        {"b": {"id": "b", "ids": [0], "tokens": ["x"]}, "e": {"id": "e", "ids": [1, 2]}},
       "single": [{"SpecialToken": {"id": "b", "type_id": 0}}, {"Sequence": {"id": "A"}},
                  {"SpecialToken": {"id": "e", "type_id": 0}}]}]})");
  const EncodeOptions special = {.add_special_tokens = true};
  EXPECT_EQ(Tokenizer::from_json(file.dump(), "t").encode("", special),
            (std::vector<int32_t>{0, 1, 2}));
  const char* config = R"({"add_bos_token": false, "add_eos_token": true,
                           "eos_token": "<｜end▁of▁sentence｜>"})";
  EXPECT_EQ(Tokenizer::from_json(file.dump(), "t", config).encode("", special),
            (std::vector<int32_t>{1}));
}

TEST(TokenizerFile, IgnoreMergesTakesWholePieces) {
  Json file = small();
  file["model"]["ignore_merges"] = true;
  file["model"]["merges"] = Json::array();
  const Tokenizer tokenizer = Tokenizer::from_json(file.dump(), "t");
  EXPECT_EQ(tokenizer.encode(" the").size(), 1u);
  EXPECT_EQ(tokenizer.encode("tqe").size(), 3u);
}

TEST(TokenizerConfig, Contradictions) {
  const std::string file = small().dump();
  EXPECT_THROW(Tokenizer::from_json(file, "t", R"({"bos_token": "<s>"})"), Error);
  EXPECT_THROW(Tokenizer::from_json(file, "t", R"({"add_bos_token": true})"), Error);
  EXPECT_THROW(Tokenizer::from_json(file, "t", R"({"add_bos_token": "yes"})"), Error);
  EXPECT_THROW(Tokenizer::from_json(file, "t", R"([])"), Error);
  EXPECT_EQ(Tokenizer::from_json(file, "t").bos_id(), -1);
  EXPECT_EQ(Tokenizer::from_json(file, "t", R"({"chat_template": "x"})").chat_template(), "x");
}

TEST(TokenizerLoad, MissingFileIsNamed) {
  try {
    Tokenizer::load("/nonexistent/dir");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("/nonexistent/dir"), std::string::npos);
  }
}

}  // namespace
}  // namespace fathom
