#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/file.h"
#include "text/bpe_trainer.h"
#include "text/byte_level.h"
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

Json pre_tokenizer() {
  Json steps = Json::array();
  for (const std::string& pattern : deepseek_v3_patterns()) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back(byte_level());
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

/// Puts the beginning-of-sentence token before a text (before each of two).
Json post_processor() {
  const auto bos = [](int type) {
    return Json{{"SpecialToken", {{"id", kBosToken}, {"type_id", type}}}};
  };
  const auto text = [](const char* name, int type) {
    return Json{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  Json tokens;
  tokens[std::string(kBosToken)] = {
      {"id", kBosToken}, {"ids", Json::array({0})}, {"tokens", Json::array({kBosToken})}};
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

Json model(const TrainedBpe& bpe) {
  Json::object_t vocab;  // a list of pairs: appending, unlike operator[], does not search it
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

}  // namespace

std::string tokenizer_json(const TrainedBpe& bpe) {
  const Json file = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added_tokens(bpe.vocab_size())},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", pre_tokenizer()},
                     {"post_processor", post_processor()},
                     {"decoder", byte_level()},
                     {"model", model(bpe)}};
  return file.dump(1) + "\n";
}

std::string tokenizer_config_json() {
  const Json file = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                     {"add_bos_token", true},
                     {"add_eos_token", false},
                     {"bos_token", kBosToken},
                     {"eos_token", kEosToken},
                     {"pad_token", kPadToken},
                     {"clean_up_tokenization_spaces", false},
                     {"chat_template", kChatTemplate}};
  return file.dump(2) + "\n";
}

void save_tokenizer(const TrainedBpe& bpe, const std::filesystem::path& directory) {
  make_directories(directory);
  write_text_file(directory / "tokenizer.json", tokenizer_json(bpe));
  write_text_file(directory / "tokenizer_config.json", tokenizer_config_json());
}

}  // namespace fathom
