#include "text/gguf_vocabulary.h"

#include <fmt/format.h>

#include <array>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/tiktoken_file.h"

namespace fathom {
namespace {

constexpr const char* kUseTokenizer =
    "give the model's own tokenizer.json or tiktoken.model with --tokenizer DIR";

/// Cased letters, as the tokenizer.json of DeepSeek LLM lists them.
constexpr std::string_view kCasedLetters =
    "A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293"
    "\u0295-\u02AF\u0370-\u0373\u0376-\u0377\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C"
    "\u038E-\u03A1\u03A3-\u03F5\u03F7-\u0481\u048A-\u052F\u0531-\u0556\u10A0-\u10C5"
    "\u13A0-\u13F5\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77"
    "\u1D79-\u1D9A\u1E00-\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D\u1F50-\u1F57\u1F59"
    "\u1F5B\u1F5D\u1F5F-\u1F7D\u1F80-\u1FB4\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC"
    "\u1FD0-\u1FD3\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-\u1FFC\u2102\u2107"
    "\u210A-\u2113\u2115\u2119-\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139"
    "\u213C-\u213F\u2145-\u2149\u214E\u2183-\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE"
    "\u2CF2-\u2CF3\uA640-\uA66D\uA680-\uA69B\uA722-\uA76F\uA771-\uA787\uA78B-\uA78E"
    "\uAB70-\uABBF\uFB00-\uFB06\uFB13-\uFB17\uFF21-\uFF3A\uFF41-\uFF5A"
    "\U00010400-\U0001044F\U000104B0-\U000104D3\U000104D8-\U000104FB\U00010C80-\U00010CB2"
    "\U00010CC0-\U00010CF2\U000118A0-\U000118DF\U0001E900-\U0001E943";

/// The patterns of a `pre`, in the order in which they cut.
struct Patterns {
  std::string_view pre;
  std::vector<std::string> list;
};

const std::vector<Patterns>& known_patterns() {
  // Chinese characters and whatever lies between the code points that DeepSeek's files name.
  static const std::string cjk = "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+";
  static const std::vector<Patterns> known = {
      {"deepseek-v3", deepseek_v3_patterns()},
      {"deepseek-llm",
       {"[\r\n]", fmt::format("\\s?[{}]+", kCasedLetters),
        "\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+", "\\s+\\z", cjk,
        "\\p{N}+"}},
      {"deepseek-coder", {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", cjk, "\\p{N}"}},
      {"kimi-k2", {std::string(kKimiPattern)}},
  };
  return known;
}

[[noreturn]] void fail_at(const std::string& source, std::string_view key, std::string_view what) {
  throw Error(fmt::format("{}: tokenizer.ggml.{}: {}", source, key, what), kUseTokenizer);
}

class Reader {
 public:
  Reader(const GgufVocabulary& vocabulary, const std::string& source)
      : v_(vocabulary), source_(source) {}

  TokenizerFile read() {
    check_kind();
    read_tokens();
    read_merges();
    for (const std::string& pattern : gguf_patterns(v_, source_))
      file_.split_steps.push_back({Regex(parse_regex(pattern))});
    return std::move(file_);
  }

 private:
  [[noreturn]] void fail(std::string_view key, std::string_view what) const {
    fail_at(source_, key, what);
  }

  void check_kind() const {
    if (v_.model != "gpt2")
      fail("model", fmt::format("\"{:.40}\" is not read, only gpt2 (byte-level BPE)", v_.model));
    if (!v_.types.empty() && v_.types.size() != v_.tokens.size())
      fail("token_type",
           fmt::format("has {} entries for {} tokens", v_.types.size(), v_.tokens.size()));
  }

  int32_t type_of(size_t id) const {
    return v_.types.empty() ? GgufVocabulary::kNormal : v_.types[id];
  }

  void read_tokens() {
    file_.byte_ids.fill(-1);
    file_.ids.reserve(v_.tokens.size() * 2);
    for (size_t id = 0; id < v_.tokens.size(); ++id) add_token(static_cast<int32_t>(id));
    for (uint32_t b = 0; b < 256; ++b) {
      const bool in_utf8 = b < 0xC0 || (b >= 0xC2 && b <= 0xF4);
      if (in_utf8 && file_.byte_ids[b] < 0)
        fail("tokens", fmt::format("no token for the byte {:#04x}", b));
    }
  }

  void add_token(int32_t id) {
    const std::string& token = v_.tokens[static_cast<size_t>(id)];
    const int32_t type = type_of(static_cast<size_t>(id));
    const auto [known, fresh] = file_.ids.emplace(token, id);
    if (!fresh)
      fail("tokens", fmt::format("\"{:.40}\" has the ids {} and {}", token, known->second, id));
    const bool special = type == GgufVocabulary::kControl;
    if ((special || type == GgufVocabulary::kUserDefined) && !token.empty())
      file_.added_tokens.push_back({.content = token, .id = id, .special = special});
    std::optional<std::string> bytes;
    if (type == GgufVocabulary::kNormal) bytes = unspell_bytes(token);
    if (bytes && bytes->size() == 1) file_.byte_ids[static_cast<uint8_t>(bytes->front())] = id;
    file_.bytes.push_back(bytes ? std::move(*bytes) : token);
  }

  void read_merges() {
    file_.merges.reserve(v_.merges.size());
    for (const std::string& merge : v_.merges) {
      const size_t blank = merge.find(' ', 1);
      if (blank == std::string::npos)
        fail("merges", fmt::format("\"{:.40}\" is not two tokens with a blank between", merge));
      const std::string left = merge.substr(0, blank), right = merge.substr(blank + 1);
      file_.merges.push_back({id_of(merge, left), id_of(merge, right), id_of(merge, left + right)});
    }
  }

  int32_t id_of(const std::string& merge, const std::string& token) const {
    const auto found = file_.ids.find(token);
    if (found != file_.ids.end()) return found->second;
    fail("merges",
         fmt::format("\"{:.40}\" needs the token \"{:.40}\", which is not there", merge, token));
  }

  const GgufVocabulary& v_;
  const std::string& source_;
  TokenizerFile file_;
};

}  // namespace

std::string known_gguf_patterns() {
  std::string names;
  for (const Patterns& p : known_patterns())
    names += fmt::format("{}{}", names.empty() ? "" : ", ", p.pre);
  return names;
}

const std::vector<std::string>& gguf_patterns(const GgufVocabulary& vocabulary,
                                              const std::string& source) {
  for (const Patterns& p : known_patterns())
    if (p.pre == vocabulary.pre) return p.list;
  fail_at(
      source, "pre",
      fmt::format("\"{:.40}\" is not known; known are {}", vocabulary.pre, known_gguf_patterns()));
}

TokenizerFile tokenizer_file_of(const GgufVocabulary& vocabulary, const std::string& source) {
  return Reader(vocabulary, source).read();
}

TokenizerConfig tokenizer_config_of(const GgufVocabulary& vocabulary, const std::string& source) {
  TokenizerConfig config;
  const auto name = [&](const char* key, std::optional<int64_t> id) -> std::optional<std::string> {
    if (!id) return std::nullopt;
    if (*id < 0 || *id >= std::ssize(vocabulary.tokens))
      throw Error(fmt::format("{}: tokenizer.ggml.{} is {}, of {} tokens", source, key, *id,
                              vocabulary.tokens.size()),
                  kUseTokenizer);
    return vocabulary.tokens[static_cast<size_t>(*id)];
  };
  config.bos_token = name("bos_token_id", vocabulary.bos_id);
  config.eos_token = name("eos_token_id", vocabulary.eos_id);
  config.pad_token = name("padding_token_id", vocabulary.pad_id);
  const auto flag = [&](const char* key, std::optional<bool> add, bool named) {
    if (add.value_or(false) && !named)
      throw Error(fmt::format("{}: tokenizer.ggml.{} is true, but the file names no such token",
                              source, key),
                  kUseTokenizer);
    return add;
  };
  config.add_bos_token = flag("add_bos_token", vocabulary.add_bos, config.bos_token.has_value());
  config.add_eos_token = flag("add_eos_token", vocabulary.add_eos, config.eos_token.has_value());
  config.chat_template = vocabulary.chat_template;
  return config;
}

}  // namespace fathom
