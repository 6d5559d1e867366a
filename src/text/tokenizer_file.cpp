#include "text/tokenizer_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "text/byte_level.h"
#include "text/json_field.h"

namespace fathom {
namespace {

/// GPT-2's pattern, which a ByteLevel step with use_regex applies.
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

Regex compile(const JsonField& field, const RegexNode& pattern) {
  try {
    return Regex(pattern);
  } catch (const PatternError& e) {
    field.fail(e.what(), e.hint());
  }
}

RegexNode parse_pattern(const JsonField& pattern) {
  if (pattern.has("String")) return literal_regex(pattern.at("String").string());
  const JsonField regex = pattern.at("Regex");
  try {
    return parse_regex(regex.string());
  } catch (const PatternError& e) {
    regex.fail(e.what(), e.hint());
  }
}

SplitBehavior parse_behavior(const JsonField& field) {
  static const std::pair<const char*, SplitBehavior> names[] = {
      {"Isolated", SplitBehavior::kIsolated},
      {"Removed", SplitBehavior::kRemoved},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous}};
  for (const auto& [name, behavior] : names) {
    if (field.string() == name) return behavior;
  }
  field.unsupported();
}

void read_split(const JsonField& step, std::vector<SplitStep>& steps) {
  step.only({"type", "pattern", "behavior", "invert"});
  const JsonField pattern = step.at("pattern");
  steps.push_back({compile(pattern, parse_pattern(pattern)), parse_behavior(step.at("behavior")),
                   step.at("invert").boolean()});
}

void read_digits(const JsonField& step, std::vector<SplitStep>& steps) {
  const bool single = step.at("individual_digits").boolean();
  steps.push_back({compile(step, parse_regex("\\p{N}")),
                   single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous});
}

void read_byte_level(const JsonField& step, std::vector<SplitStep>& steps) {
  if (step.at("add_prefix_space").boolean()) {
    step.at("add_prefix_space").unsupported("Fathom never adds text; set it to false");
  }
  const bool use_regex = !step.has("use_regex") || step.at("use_regex").boolean();
  if (use_regex) steps.push_back({compile(step, parse_regex(kByteLevelPattern))});
}

/// The steps before ByteLevel, which must come last: BPE then works on the spelling of bytes.
std::vector<SplitStep> read_pre_tokenizer(const JsonField& field) {
  std::vector<SplitStep> steps;
  bool byte_level = false;
  const auto read = [&](const JsonField& step) {
    const std::string& type = step.at("type").string();
    if (byte_level) step.fail("a step after ByteLevel is not supported");
    if (type == "Split") return read_split(step, steps);
    if (type == "Digits") return read_digits(step, steps);
    if (type != "ByteLevel") step.at("type").unsupported();
    read_byte_level(step, steps);
    byte_level = true;
  };
  if (field.object().at("type").string() == "Sequence") {
    const JsonField list = field.at("pretokenizers");
    for (size_t i = 0; i < list.array().size(); ++i) read(list[i]);
  } else {
    read(field);
  }
  if (!byte_level) field.fail("has no ByteLevel step: not a byte-level tokenizer");
  return steps;
}

void check_normalizer(const JsonField& field) {
  if (field.is_null()) return;
  const bool empty = field.object().at("type").string() == "Sequence" &&
                     field.at("normalizers").array().size() == 0;
  if (!empty) field.unsupported("Fathom encodes text as it is; only an empty normalizer is read");
}

void check_decoder(const JsonField& field) {
  if (field.object().at("type").string() != "ByteLevel") field.at("type").unsupported();
}

void check_null(const JsonField& field) {
  if (!field.is_null()) field.unsupported("set it to null");
}

void check_model_settings(const JsonField& model) {
  model.only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
              "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  if (model.at("type").string() != "BPE") model.at("type").unsupported();
  const JsonField dropout = model.get("dropout");
  if (!dropout.is_null() && dropout.json() != 0) dropout.unsupported("set it to null");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const JsonField affix = model.get(key);
    if (!affix.is_null() && affix.json() != "") affix.unsupported();
  }
  if (model.has("byte_fallback") && model.at("byte_fallback").boolean()) {
    model.at("byte_fallback").unsupported();
  }
}

TokenIds read_vocab(const JsonField& vocab) {
  TokenIds ids;
  ids.reserve(vocab.object().size() * 2);
  for (const auto& [token, id] : vocab.json().items()) {
    const bool valid = id.is_number_unsigned() && id.get<uint64_t>() < INT32_MAX;
    if (!valid) vocab.fail(fmt::format("\"{}\": expected a token id, found {}", token, id.dump()));
    ids.emplace(token, id.get<int32_t>());
  }
  return ids;
}

AddedToken read_added_token(const JsonField& field) {
  AddedToken token;
  token.content = field.at("content").string();
  token.id = field.at("id").id();
  token.special = field.at("special").boolean();
  token.normalized = field.at("normalized").boolean();
  token.single_word = field.at("single_word").boolean();
  token.lstrip = field.at("lstrip").boolean();
  token.rstrip = field.at("rstrip").boolean();
  if (token.content.empty()) field.at("content").fail("an empty token");
  return token;
}

std::vector<AddedToken> read_added_tokens(const JsonField& list, TokenIds& ids) {
  std::vector<AddedToken> tokens;
  if (list.is_null()) return tokens;
  for (size_t i = 0; i < list.array().size(); ++i) {
    tokens.push_back(read_added_token(list[i]));
    const AddedToken& token = tokens.back();
    const auto [known, fresh] = ids.try_emplace(token.content, token.id);
    if (fresh || known->second == token.id) continue;
    list[i].at("id").fail(fmt::format("{} is \"{}\", which already has the id {}", token.id,
                                      token.content, known->second));
  }
  return tokens;
}

/// By id, what each token is spelled as.
std::vector<const std::string*> order_by_id(const JsonField& root, const TokenIds& ids) {
  std::vector<const std::string*> tokens(ids.size());
  for (const auto& [token, id] : ids) {
    const auto at = static_cast<size_t>(id);
    if (at >= tokens.size()) continue;
    if (tokens[at] != nullptr) {
      const auto [a, b] = std::minmax(*tokens[at], token);
      root.fail(fmt::format("model.vocab: \"{}\" and \"{}\" share the id {}", a, b, id));
    }
    tokens[at] = &token;
  }
  const auto hole = std::find(tokens.begin(), tokens.end(), nullptr);
  if (hole != tokens.end()) {
    root.fail(fmt::format("model.vocab: no token has the id {}, though there are {} tokens",
                          hole - tokens.begin(), tokens.size()),
              "ids must be 0 to n-1 without holes");
  }
  return tokens;
}

std::pair<std::string, std::string> read_pair(const JsonField& merge) {
  if (!merge.is_string()) {
    if (merge.array().size() != 2) merge.fail("expected two tokens, found " + merge.shown());
    return {merge[0].string(), merge[1].string()};
  }
  const std::string& text = merge.string();
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
    merge.fail(fmt::format("expected two tokens and a space between, found {}", merge.shown()));
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

std::vector<Bpe::Merge> read_merges(const JsonField& list, const TokenIds& ids) {
  std::vector<Bpe::Merge> merges;
  merges.reserve(list.array().size());
  for (size_t i = 0; i < list.size(); ++i) {
    const JsonField merge = list[i];
    const auto [left, right] = read_pair(merge);
    const auto id_of = [&](const std::string& token) {
      const auto found = ids.find(token);
      if (found != ids.end()) return found->second;
      merge.fail(
          fmt::format("{} needs the token \"{}\", which model.vocab lacks", merge.shown(), token));
    };
    merges.push_back({id_of(left), id_of(right), id_of(left + right)});
  }
  return merges;
}

/// What each token stands for: a vocabulary entry is spelled bytes; an added token, or an entry
/// that is no such spelling, is its own text.
void fill_bytes(const JsonField& root, TokenizerFile& file) {
  const std::vector<const std::string*> tokens = order_by_id(root, file.ids);
  file.byte_ids.fill(-1);
  std::vector<bool> added(tokens.size());
  for (const AddedToken& token : file.added_tokens) added[static_cast<size_t>(token.id)] = true;
  for (size_t id = 0; id < tokens.size(); ++id) {
    std::optional<std::string> bytes;
    if (!added[id]) bytes = unspell_bytes(*tokens[id]);
    if (bytes && bytes->size() == 1) {
      file.byte_ids[static_cast<uint8_t>((*bytes)[0])] = static_cast<int32_t>(id);
    }
    file.bytes.push_back(bytes ? std::move(*bytes) : *tokens[id]);
  }
}

/// Bytes that valid UTF-8 never holds may lack a token (older DeepSeek files), others not.
void check_bytes(const JsonField& root, const TokenizerFile& file) {
  for (uint32_t b = 0; b < 256; ++b) {
    const bool needed = b < 0xC0 || (b >= 0xC2 && b <= 0xF4);
    if (file.byte_ids[b] >= 0 || !needed) continue;
    std::string spelling;
    append_utf8(spelling, spell_byte(static_cast<uint8_t>(b)));
    root.fail(fmt::format("model.vocab: no token for the byte {:#04x} (\"{}\")", b, spelling));
  }
}

/// A vocabulary entry of several bytes that no merge makes could never be encoded: merges are
/// missing.
void check_reachable(const JsonField& root, const TokenizerFile& file) {
  if (file.ignore_merges) return;
  std::vector<bool> made(file.bytes.size());
  for (const Bpe::Merge& m : file.merges) made[static_cast<size_t>(m.result)] = true;
  for (const AddedToken& token : file.added_tokens) made[static_cast<size_t>(token.id)] = true;
  for (const auto& [token, id] : file.ids) {
    if (made[static_cast<size_t>(id)] || file.bytes[static_cast<size_t>(id)].size() <= 1) continue;
    root.fail(fmt::format("model.merges: no merge makes the token \"{}\" (id {}); {} merges for {} "
                          "tokens",
                          token, id, file.merges.size(), file.ids.size()),
              "merges are missing from the file: fetch or write it again");
  }
}

/// Reads [special tokens] Sequence [special tokens], the only kind of template for one text.
void read_template(const JsonField& processor, TokenizerFile& file) {
  const JsonField single = processor.at("single");
  std::vector<int32_t>* side = &file.prefix;
  for (size_t i = 0; i < single.array().size(); ++i) {
    const JsonField item = single[i];
    if (item.has("Sequence")) {
      if (side == &file.suffix) item.fail("a second Sequence is not supported");
      side = &file.suffix;
      continue;
    }
    const std::string& name = item.at("SpecialToken").at("id").string();
    const JsonField ids = processor.at("special_tokens").at(name.c_str()).at("ids");
    for (size_t k = 0; k < ids.array().size(); ++k) {
      const int32_t id = ids[k].id();
      if (static_cast<size_t>(id) >= file.bytes.size())
        ids[k].fail("no such token: " + ids.shown());
      side->push_back(id);
    }
  }
}

void read_post_processor(const JsonField& field, TokenizerFile& file) {
  if (field.is_null()) return;
  const std::string& type = field.at("type").string();
  if (type == "Sequence") {
    const JsonField list = field.at("processors");
    for (size_t i = 0; i < list.array().size(); ++i) {
      if (list[i].at("type").string() == "Sequence") list[i].unsupported();
      read_post_processor(list[i], file);
    }
  } else if (type == "TemplateProcessing") {
    read_template(field, file);
  } else if (type != "ByteLevel") {
    field.at("type").unsupported();
  }
}

std::optional<std::string> read_token_name(const JsonField& field) {
  if (field.is_null()) return std::nullopt;
  return field.is_object() ? field.at("content").string() : field.string();
}

std::optional<bool> read_flag(const JsonField& field) {
  if (field.is_null()) return std::nullopt;
  return field.boolean();
}

/// One template, or a list of named ones of which "default" is meant.
std::string read_chat_template(const JsonField& field) {
  if (field.is_null()) return {};
  if (field.is_string()) return field.string();
  for (size_t i = 0; i < field.array().size(); ++i) {
    if (field[i].at("name").string() == "default") return field[i].at("template").string();
  }
  return {};
}

/// Its flags may be absent here: Hugging Face then takes them as false.
AddedToken read_listed_token(const std::string& id, const JsonField& field) {
  AddedToken token;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), token.id);
  if (error != std::errc() || end != id.data() + id.size() || token.id < 0) {
    field.fail("the key is not a token id");
  }
  token.content = field.at("content").string();
  if (token.content.empty()) field.at("content").fail("an empty token");
  const auto flag = [&](const char* key) { return read_flag(field.get(key)).value_or(false); };
  token.special = flag("special");
  token.normalized = flag("normalized");
  token.single_word = flag("single_word");
  token.lstrip = flag("lstrip");
  token.rstrip = flag("rstrip");
  return token;
}

std::vector<AddedToken> read_added_tokens_decoder(const JsonField& table) {
  std::vector<AddedToken> tokens;
  if (table.is_null()) return tokens;
  for (const auto& [id, entry] : table.object().json().items()) {
    tokens.push_back(read_listed_token(id, table.at(id.c_str())));
  }
  return tokens;
}

}  // namespace

TokenizerFile parse_tokenizer_json(std::string_view json, const std::string& source) {
  const nlohmann::json document = parse_json(json, source);
  const JsonField root(document, source, "");
  root.only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
             "post_processor", "decoder", "model"});
  check_null(root.get("truncation"));
  check_null(root.get("padding"));
  check_normalizer(root.get("normalizer"));
  check_decoder(root.at("decoder"));
  TokenizerFile file;
  file.split_steps = read_pre_tokenizer(root.at("pre_tokenizer"));
  const JsonField model = root.at("model");
  check_model_settings(model);
  file.ignore_merges = model.has("ignore_merges") && model.at("ignore_merges").boolean();
  file.ids = read_vocab(model.at("vocab"));
  file.merges = read_merges(model.at("merges"), file.ids);
  file.added_tokens = read_added_tokens(root.get("added_tokens"), file.ids);
  fill_bytes(root, file);
  check_bytes(root, file);
  check_reachable(root, file);
  read_post_processor(root.get("post_processor"), file);
  return file;
}

void add_listed_tokens(TokenizerFile& file, std::vector<AddedToken> listed) {
  std::sort(listed.begin(), listed.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  for (AddedToken& token : listed) {
    const auto same = [&](const AddedToken& t) { return t.content == token.content; };
    const auto known = std::find_if(file.added_tokens.begin(), file.added_tokens.end(), same);
    if (known != file.added_tokens.end()) {
      known->special |= token.special;
      continue;
    }
    token.id = static_cast<int32_t>(file.bytes.size());
    const auto [entry, fresh] = file.ids.try_emplace(token.content, token.id);
    if (fresh) file.bytes.push_back(token.content);
    token.id = entry->second;  // of the vocabulary's own, where it has the word
    file.added_tokens.push_back(std::move(token));
  }
}

TokenizerConfig parse_tokenizer_config(std::string_view json, const std::string& source) {
  const nlohmann::json document = parse_json(json, source);
  const JsonField root(document, source, "");
  root.object();
  TokenizerConfig config;
  config.add_bos_token = read_flag(root.get("add_bos_token"));
  config.add_eos_token = read_flag(root.get("add_eos_token"));
  config.bos_token = read_token_name(root.get("bos_token"));
  config.eos_token = read_token_name(root.get("eos_token"));
  config.pad_token = read_token_name(root.get("pad_token"));
  config.chat_template = read_chat_template(root.get("chat_template"));
  config.added_tokens = read_added_tokens_decoder(root.get("added_tokens_decoder"));
  return config;
}

}  // namespace fathom
