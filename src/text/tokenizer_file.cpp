#include "text/tokenizer_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/byte_level.h"

namespace fathom {
namespace {

using Json = nlohmann::json;

/// GPT-2's pattern, which a ByteLevel step with use_regex applies.
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// A value in a JSON file and the way to it, for messages.
class Field {
 public:
  Field(const Json& value, std::string source, std::string path)
      : value_(value), source_(std::move(source)), path_(std::move(path)) {}

  [[noreturn]] void fail(std::string_view what, std::string hint = {}) const {
    if (hint.empty()) hint = "the file is damaged or not a byte-level BPE tokenizer";
    const std::string place = path_.empty() ? source_ : fmt::format("{}: {}", source_, path_);
    throw Error(fmt::format("{}: {}", place, what), std::move(hint));
  }
  [[noreturn]] void unsupported(std::string hint = {}) const {
    if (hint.empty()) hint = "Fathom reads byte-level BPE tokenizers of the DeepSeek kind";
    fail(fmt::format("{} is not supported", shown()), std::move(hint));
  }

  /// The value as JSON, shortened.
  std::string shown() const {
    std::string text = value_.dump(-1, ' ', true, Json::error_handler_t::replace);
    if (text.size() > 80) text = text.substr(0, 77) + "...";
    return text;
  }

  bool is_null() const { return value_.is_null(); }
  bool is_object() const { return value_.is_object(); }
  bool is_string() const { return value_.is_string(); }
  const Json& json() const { return value_; }
  size_t size() const { return value_.size(); }

  Field operator[](size_t index) const {
    return {value_[index], source_, fmt::format("{}[{}]", path_, index)};
  }
  bool has(const char* key) const { return value_.is_object() && value_.contains(key); }
  Field at(const char* key) const {
    const std::string path = path_.empty() ? key : fmt::format("{}.{}", path_, key);
    object();
    if (!value_.contains(key)) Field(value_, source_, path).fail("missing");
    return {value_[key], source_, path};
  }
  /// An absent field reads as null.
  Field get(const char* key) const {
    static const Json null;
    if (has(key)) return at(key);
    return {null, source_, path_.empty() ? key : fmt::format("{}.{}", path_, key)};
  }

  const Field& object() const { return expect(value_.is_object(), "an object"); }
  const Field& array() const { return expect(value_.is_array(), "a list"); }
  const std::string& string() const {
    expect(value_.is_string(), "a string");
    return value_.get_ref<const std::string&>();
  }
  bool boolean() const {
    expect(value_.is_boolean(), "true or false");
    return value_.get<bool>();
  }
  /// A token id; whether it is too large shows when all are counted.
  int32_t id() const {
    expect(value_.is_number_unsigned() && value_.get<uint64_t>() < INT32_MAX, "a token id");
    return value_.get<int32_t>();
  }

  void only(std::initializer_list<std::string_view> known) const {
    for (const auto& [key, value] : object().value_.items()) {
      if (std::find(known.begin(), known.end(), key) != known.end()) continue;
      Field(value, source_, path_.empty() ? key : path_ + "." + key)
          .fail("unknown field", fmt::format("known here: {}", fmt::join(known, ", ")));
    }
  }

 private:
  const Field& expect(bool ok, std::string_view what) const {
    if (!ok) fail(fmt::format("expected {}, found {}", what, shown()));
    return *this;
  }

  const Json& value_;
  std::string source_, path_;
};

Json parse_json(std::string_view text, const std::string& source) {
  try {
    return Json::parse(text);
  } catch (const Json::exception& e) {
    throw Error(fmt::format("{}: not valid JSON: {}", source, e.what()),
                "the file is damaged or incomplete: fetch or write it again");
  }
}

Regex compile(const Field& field, const RegexNode& pattern) {
  try {
    return Regex(pattern);
  } catch (const PatternError& e) {
    field.fail(e.what(), e.hint());
  }
}

RegexNode parse_pattern(const Field& pattern) {
  if (pattern.has("String")) return literal_regex(pattern.at("String").string());
  const Field regex = pattern.at("Regex");
  try {
    return parse_regex(regex.string());
  } catch (const PatternError& e) {
    regex.fail(e.what(), e.hint());
  }
}

SplitBehavior parse_behavior(const Field& field) {
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

void read_split(const Field& step, std::vector<SplitStep>& steps) {
  step.only({"type", "pattern", "behavior", "invert"});
  const Field pattern = step.at("pattern");
  steps.push_back({compile(pattern, parse_pattern(pattern)), parse_behavior(step.at("behavior")),
                   step.at("invert").boolean()});
}

void read_digits(const Field& step, std::vector<SplitStep>& steps) {
  const bool single = step.at("individual_digits").boolean();
  steps.push_back({compile(step, parse_regex("\\p{N}")),
                   single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous});
}

void read_byte_level(const Field& step, std::vector<SplitStep>& steps) {
  if (step.at("add_prefix_space").boolean()) {
    step.at("add_prefix_space").unsupported("Fathom never adds text; set it to false");
  }
  const bool use_regex = !step.has("use_regex") || step.at("use_regex").boolean();
  if (use_regex) steps.push_back({compile(step, parse_regex(kByteLevelPattern))});
}

/// The steps before ByteLevel, which must come last: BPE then works on the spelling of bytes.
std::vector<SplitStep> read_pre_tokenizer(const Field& field) {
  std::vector<SplitStep> steps;
  bool byte_level = false;
  const auto read = [&](const Field& step) {
    const std::string& type = step.at("type").string();
    if (byte_level) step.fail("a step after ByteLevel is not supported");
    if (type == "Split") return read_split(step, steps);
    if (type == "Digits") return read_digits(step, steps);
    if (type != "ByteLevel") step.at("type").unsupported();
    read_byte_level(step, steps);
    byte_level = true;
  };
  if (field.object().at("type").string() == "Sequence") {
    const Field list = field.at("pretokenizers");
    for (size_t i = 0; i < list.array().size(); ++i) read(list[i]);
  } else {
    read(field);
  }
  if (!byte_level) field.fail("has no ByteLevel step: not a byte-level tokenizer");
  return steps;
}

void check_normalizer(const Field& field) {
  if (field.is_null()) return;
  const bool empty = field.object().at("type").string() == "Sequence" &&
                     field.at("normalizers").array().size() == 0;
  if (!empty) field.unsupported("Fathom encodes text as it is; only an empty normalizer is read");
}

void check_decoder(const Field& field) {
  if (field.object().at("type").string() != "ByteLevel") field.at("type").unsupported();
}

void check_null(const Field& field) {
  if (!field.is_null()) field.unsupported("set it to null");
}

void check_model_settings(const Field& model) {
  model.only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
              "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  if (model.at("type").string() != "BPE") model.at("type").unsupported();
  const Field dropout = model.get("dropout");
  if (!dropout.is_null() && dropout.json() != 0) dropout.unsupported("set it to null");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Field affix = model.get(key);
    if (!affix.is_null() && affix.json() != "") affix.unsupported();
  }
  if (model.has("byte_fallback") && model.at("byte_fallback").boolean()) {
    model.at("byte_fallback").unsupported();
  }
}

TokenIds read_vocab(const Field& vocab) {
  TokenIds ids;
  ids.reserve(vocab.object().size() * 2);
  for (const auto& [token, id] : vocab.json().items()) {
    const bool valid = id.is_number_unsigned() && id.get<uint64_t>() < INT32_MAX;
    if (!valid) vocab.fail(fmt::format("\"{}\": expected a token id, found {}", token, id.dump()));
    ids.emplace(token, id.get<int32_t>());
  }
  return ids;
}

AddedToken read_added_token(const Field& field) {
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

std::vector<AddedToken> read_added_tokens(const Field& list, TokenIds& ids) {
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
std::vector<const std::string*> order_by_id(const Field& root, const TokenIds& ids) {
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

std::pair<std::string, std::string> read_pair(const Field& merge) {
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

std::vector<Bpe::Merge> read_merges(const Field& list, const TokenIds& ids) {
  std::vector<Bpe::Merge> merges;
  merges.reserve(list.array().size());
  for (size_t i = 0; i < list.size(); ++i) {
    const Field merge = list[i];
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
void fill_bytes(const Field& root, TokenizerFile& file) {
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
void check_bytes(const Field& root, const TokenizerFile& file) {
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
void check_reachable(const Field& root, const TokenizerFile& file) {
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
void read_template(const Field& processor, TokenizerFile& file) {
  const Field single = processor.at("single");
  std::vector<int32_t>* side = &file.prefix;
  for (size_t i = 0; i < single.array().size(); ++i) {
    const Field item = single[i];
    if (item.has("Sequence")) {
      if (side == &file.suffix) item.fail("a second Sequence is not supported");
      side = &file.suffix;
      continue;
    }
    const std::string& name = item.at("SpecialToken").at("id").string();
    const Field ids = processor.at("special_tokens").at(name.c_str()).at("ids");
    for (size_t k = 0; k < ids.array().size(); ++k) {
      const int32_t id = ids[k].id();
      if (static_cast<size_t>(id) >= file.bytes.size())
        ids[k].fail("no such token: " + ids.shown());
      side->push_back(id);
    }
  }
}

void read_post_processor(const Field& field, TokenizerFile& file) {
  if (field.is_null()) return;
  const std::string& type = field.at("type").string();
  if (type == "Sequence") {
    const Field list = field.at("processors");
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

std::optional<std::string> read_token_name(const Field& field) {
  if (field.is_null()) return std::nullopt;
  return field.is_object() ? field.at("content").string() : field.string();
}

std::optional<bool> read_flag(const Field& field) {
  if (field.is_null()) return std::nullopt;
  return field.boolean();
}

/// One template, or a list of named ones of which "default" is meant.
std::string read_chat_template(const Field& field) {
  if (field.is_null()) return {};
  if (field.is_string()) return field.string();
  for (size_t i = 0; i < field.array().size(); ++i) {
    if (field[i].at("name").string() == "default") return field[i].at("template").string();
  }
  return {};
}

/// Its flags may be absent here: Hugging Face then takes them as false.
AddedToken read_listed_token(const std::string& id, const Field& field) {
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

std::vector<AddedToken> read_added_tokens_decoder(const Field& table) {
  std::vector<AddedToken> tokens;
  if (table.is_null()) return tokens;
  for (const auto& [id, entry] : table.object().json().items()) {
    tokens.push_back(read_listed_token(id, table.at(id.c_str())));
  }
  return tokens;
}

}  // namespace

TokenizerFile parse_tokenizer_json(std::string_view json, const std::string& source) {
  const Json document = parse_json(json, source);
  const Field root(document, source, "");
  root.only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
             "post_processor", "decoder", "model"});
  check_null(root.get("truncation"));
  check_null(root.get("padding"));
  check_normalizer(root.get("normalizer"));
  check_decoder(root.at("decoder"));
  TokenizerFile file;
  file.split_steps = read_pre_tokenizer(root.at("pre_tokenizer"));
  const Field model = root.at("model");
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

TokenizerConfig parse_tokenizer_config(std::string_view json, const std::string& source) {
  const Json document = parse_json(json, source);
  const Field root(document, source, "");
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
