#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/file.h"
#include "text/bpe_trainer.h"
#include "text/byte_level.h"
#include "text/gguf_vocabulary.h"
#include "text/pre_tokenizer.h"

namespace fathom {
namespace {

using Json = nlohmann::ordered_json;

/// DeepSeek-V3's rendering of system, user and assistant messages.
constexpr std::string_view kChatTemplate =
    "{%- set ns = namespace(system='') -%}"
    "{%- for message in messages if message['role'] == 'system' -%}"
    "{%- set ns.system = ns.system + ('' if loop.first else '\\n\\n') + message['content'] -%}"
    "{%- endfor -%}"
    "{{- bos_token + ns.system -}}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{{- '<｜User｜>' + message['content'] -}}"
    "{%- elif message['role'] == 'assistant' -%}"
    "{{- '<｜Assistant｜>' + message['content'] + eos_token -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<｜Assistant｜>' -}}{%- endif -%}";

Json added_token(int32_t id, std::string_view content, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

/// Roles and FIM marks are not "special" in DeepSeek-V3: skipping special tokens keeps them.
Json added_tokens(int32_t vocab_size) {
  Json list = Json::array();
  int32_t id = 0;
  for (std::string_view token : {kBosToken, kEosToken, kPadToken}) {
    list.push_back(added_token(id++, token, true));
  }
  id = vocab_size - 5;
  for (std::string_view token :
       {kFimHoleToken, kFimBeginToken, kFimEndToken, kUserToken, kAssistantToken}) {
    list.push_back(added_token(id++, token, false));
  }
  return list;
}

Json byte_level() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", false}};
}

Json pre_tokenizer(const std::vector<std::string>& patterns) {
  Json steps = Json::array();
  for (const std::string& pattern : patterns) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back(byte_level());
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

/// Puts the beginning-of-sentence token before a text (before each of two).
Json post_processor(std::string_view token, int64_t id) {
  const auto bos = [&](int type) {
    return Json{{"SpecialToken", {{"id", token}, {"type_id", type}}}};
  };
  const auto text = [](const char* name, int type) {
    return Json{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  Json tokens;
  tokens[std::string(token)] = {
      {"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}};
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({bos(0), text("A", 0)})},
          {"pair", Json::array({bos(0), text("A", 0), bos(1), text("B", 1)})},
          {"special_tokens", tokens}};
}

/// The 256 single bytes by the code points that spell them: DeepSeek-V3's and GPT-2's order.
std::vector<std::string> spelled_bytes() {
  std::vector<uint8_t> bytes(256);
  std::iota(bytes.begin(), bytes.end(), uint8_t{0});
  std::sort(bytes.begin(), bytes.end(),
            [](uint8_t a, uint8_t b) { return spell_byte(a) < spell_byte(b); });
  std::vector<std::string> spelled;
  for (uint8_t b : bytes) spelled.push_back(spell_bytes({reinterpret_cast<const char*>(&b), 1}));
  return spelled;
}

/// By id. A list of pairs: appending, unlike operator[], does not search it.
using Vocabulary = Json::object_t;

Json model(Vocabulary vocab, Json merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

Json model(const TrainedBpe& bpe) {
  Vocabulary vocab;
  const auto add = [&](std::string token) {
    const size_t id = vocab.size();
    vocab.push_back({std::move(token), id});
  };
  for (std::string_view token : {kBosToken, kEosToken, kPadToken}) add(std::string(token));
  for (const std::string& token : spelled_bytes()) add(token);
  for (const std::string& token : bpe.tokens) add(spell_bytes(token));
  Json merges = Json::array();
  for (const auto& [left, right] : bpe.merges) {
    merges.push_back(spell_bytes(left) + " " + spell_bytes(right));
  }
  return model(std::move(vocab), std::move(merges));
}

/// What fills holes of the ids is special too: tokenizer.json has no other place for a token that
/// no merge makes.
Json added_tokens(const GgufVocabulary& v) {
  Json list = Json::array();
  for (size_t i = 0; i < v.types.size(); ++i)
    if (v.types[i] != GgufVocabulary::kNormal)
      list.push_back(added_token(static_cast<int32_t>(i), v.tokens[i],
                                 v.types[i] != GgufVocabulary::kUserDefined));
  return list;
}

Json model(const GgufVocabulary& v) {
  Vocabulary vocab;
  for (const std::string& token : v.tokens) vocab.push_back({token, vocab.size()});
  return model(std::move(vocab), v.merges);
}

std::string tokenizer_json(Json added, const std::vector<std::string>& patterns, Json post,
                           Json model) {
  const Json file = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", std::move(added)},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", pre_tokenizer(patterns)},
                     {"post_processor", std::move(post)},
                     {"decoder", byte_level()},
                     {"model", std::move(model)}};
  return file.dump(1) + "\n";
}

std::string tokenizer_config_json(const TokenizerConfig& config) {
  Json file = {{"tokenizer_class", "PreTrainedTokenizerFast"},
               {"clean_up_tokenization_spaces", false}};
  const auto put = [&](const char* key, const auto& value) {
    if (value) file[key] = *value;
  };
  put("add_bos_token", config.add_bos_token);
  put("add_eos_token", config.add_eos_token);
  put("bos_token", config.bos_token);
  put("eos_token", config.eos_token);
  put("pad_token", config.pad_token);
  if (!config.chat_template.empty()) file["chat_template"] = config.chat_template;
  return file.dump(2) + "\n";
}

void write_files(const std::filesystem::path& directory, const std::string& tokenizer,
                 const std::string& config) {
  make_directories(directory);
  write_text_file(directory / "tokenizer.json", tokenizer);
  write_text_file(directory / "tokenizer_config.json", config);
}

}  // namespace

std::string tokenizer_json(const TrainedBpe& bpe) {
  return tokenizer_json(added_tokens(bpe.vocab_size()), deepseek_v3_patterns(),
                        post_processor(kBosToken, 0), model(bpe));
}

std::string tokenizer_config_json() {
  return tokenizer_config_json({.add_bos_token = true,
                                .add_eos_token = false,
                                .bos_token = std::string(kBosToken),
                                .eos_token = std::string(kEosToken),
                                .pad_token = std::string(kPadToken),
                                .chat_template = std::string(kChatTemplate),
                                .added_tokens = {}});
}

void save_tokenizer(const TrainedBpe& bpe, const std::filesystem::path& directory) {
  write_files(directory, tokenizer_json(bpe), tokenizer_config_json());
}

void save_tokenizer(const GgufVocabulary& v, const std::string& source,
                    const std::filesystem::path& directory) {
  tokenizer_file_of(v, source);  // checks the vocabulary
  const TokenizerConfig config = tokenizer_config_of(v, source);
  Json post;
  if (config.add_bos_token.value_or(false)) post = post_processor(*config.bos_token, *v.bos_id);
  const std::string file =
      tokenizer_json(added_tokens(v), gguf_patterns(v, source), std::move(post), model(v));
  parse_tokenizer_json(file, source);  // what cannot be read back is not written
  write_files(directory, file, tokenizer_config_json(config));
}

}  // namespace fathom
