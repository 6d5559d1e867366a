#include "text/tiktoken_file.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "base/error.h"
#include "text/byte_level.h"

namespace fathom {

const std::string_view kKimiPattern =
    R"([\p{Han}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

constexpr const char* kFetchAgain =
    "the file is damaged or not a tiktoken.model: fetch it again (each line is a token in base64 "
    "and "
    "its rank)";

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/// Nothing when it is not base64 with its padding.
std::optional<std::string> decode_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const int digit = i < text.size() - padding ? base64_digit(text[i]) : 0;
    if (digit < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if (i % 4 != 3) continue;
    for (int shift : {16, 8, 0}) bytes += static_cast<char>(bits >> shift & 0xFF);
    bits = 0;
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

class Reader {
 public:
  Reader(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  /// By rank, the bytes of each token.
  std::vector<std::string> read() {
    for (size_t begin = 0; begin < text_.size(); ++line_) {
      const size_t end = std::min(text_.find('\n', begin), text_.size());
      read_line(text_.substr(begin, end - begin));
      begin = end + 1;
    }
    if (tokens_.empty()) fail(source_, "no token in the file");
    for (size_t rank = 0; rank < tokens_.size(); ++rank) {
      if (!tokens_[rank].empty()) continue;
      fail(source_, fmt::format("no token has the rank {}, though {} is the highest", rank,
                                tokens_.size() - 1));
    }
    return std::move(tokens_);
  }

 private:
  /// Far above any vocabulary; keeps a damaged rank from asking for memory.
  static constexpr size_t kMaxRank = 16'000'000;

  [[noreturn]] static void fail(const std::string& place, std::string_view what) {
    throw Error(fmt::format("{}: {}", place, what), kFetchAgain);
  }
  [[noreturn]] void fail_line(std::string_view what) const {
    fail(fmt::format("{}: line {}", source_, line_), what);
  }

  void read_line(std::string_view line) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) return;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos)
      fail_line("expected a token in base64, a space and a rank");
    std::optional<std::string> token = decode_base64(line.substr(0, space));
    if (!token) fail_line(fmt::format("\"{:.80}\" is not base64", line.substr(0, space)));
    const std::string_view digits = line.substr(space + 1);
    size_t rank = 0;
    const auto [end, error] = std::from_chars(digits.begin(), digits.end(), rank);
    if (error != std::errc() || end != digits.end() || rank > kMaxRank) {
      fail_line(fmt::format("\"{:.80}\" is not a rank", digits));
    }
    if (rank >= tokens_.size()) tokens_.resize(rank + 1);
    if (!tokens_[rank].empty()) fail_line(fmt::format("the rank {} stands on two lines", rank));
    tokens_[rank] = std::move(*token);
  }

  std::string_view text_;
  const std::string& source_;
  size_t line_ = 1;
  std::vector<std::string> tokens_;
};

/// The ids of the base tokens by their bytes.
TokenIds index_tokens(const std::vector<std::string>& tokens, const std::string& source) {
  TokenIds ids;
  ids.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    const auto [known, fresh] = ids.emplace(tokens[id], static_cast<int32_t>(id));
    if (fresh) continue;
    throw Error(
        fmt::format("{}: the ranks {} and {} are the same token", source, known->second, id),
        kFetchAgain);
  }
  return ids;
}

/// Every way to join two tokens into a third.
std::vector<Bpe::Merge> find_merges(const std::vector<std::string>& tokens, const TokenIds& ids) {
  std::vector<Bpe::Merge> merges;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string_view token = tokens[id];
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const auto left = ids.find(token.substr(0, cut));
      if (left == ids.end()) continue;
      const auto right = ids.find(token.substr(cut));
      if (right == ids.end()) continue;
      merges.push_back({left->second, right->second, static_cast<int32_t>(id)});
    }
  }
  return merges;
}

void set_byte_ids(TokenizerFile& file, const TokenIds& by_bytes, const std::string& source) {
  for (uint32_t b = 0; b < 256; ++b) {
    const auto found = by_bytes.find(std::string(1, static_cast<char>(b)));
    if (found == by_bytes.end()) {
      throw Error(fmt::format("{}: no token for the byte {:#04x}", source, b), kFetchAgain);
    }
    file.byte_ids[b] = found->second;
  }
}

/// The reserved ids, named where the configuration names them.
std::vector<AddedToken> special_tokens(const TokenizerConfig& config, int32_t base,
                                       const std::string& source) {
  if (config.added_tokens.empty()) {
    throw Error(fmt::format("{}: tokenizer_config.json: added_tokens_decoder: missing", source),
                "the names of the special tokens are in tokenizer_config.json: fetch it too");
  }
  std::vector<AddedToken> tokens(kReservedSpecialTokens);
  for (int32_t i = 0; i < kReservedSpecialTokens; ++i) {
    AddedToken& token = tokens[static_cast<size_t>(i)];
    token.id = base + i;
    token.special = true;
    token.content = fmt::format("<|reserved_token_{}|>", token.id);
  }
  for (const AddedToken& token : config.added_tokens) {
    if (token.id < base || token.id >= base + kReservedSpecialTokens) {
      throw Error(
          fmt::format(
              "{}: tokenizer_config.json: added_tokens_decoder: \"{}\" has the id {}, outside "
              "the {} ids after the {} tokens of the file",
              source, token.content, token.id, kReservedSpecialTokens, base),
          "the two files must come from the same tokenizer");
    }
    tokens[static_cast<size_t>(token.id - base)] = token;
  }
  return tokens;
}

}  // namespace

TokenizerFile parse_tiktoken_model(std::string_view text, const std::string& source,
                                   const TokenizerConfig& config) {
  TokenizerFile file;
  file.bytes = Reader(text, source).read();
  const TokenIds by_bytes = index_tokens(file.bytes, source);
  set_byte_ids(file, by_bytes, source);
  file.merges = find_merges(file.bytes, by_bytes);
  file.merge_order = MergeOrder::kByResult;
  file.ignore_merges = true;
  file.split_steps.push_back({Regex(parse_regex(kKimiPattern))});
  file.ids.reserve(file.bytes.size() + kReservedSpecialTokens);
  for (const auto& [bytes, id] : by_bytes) file.ids.emplace(spell_bytes(bytes), id);
  file.added_tokens = special_tokens(config, static_cast<int32_t>(file.bytes.size()), source);
  for (AddedToken& token : file.added_tokens) {
    token.normalized = false;  // tiktoken looks for all of them at once, as they stand
    if (!file.ids.emplace(token.content, token.id).second) {
      throw Error(fmt::format("{}: tokenizer_config.json: added_tokens_decoder: \"{}\" (id {}) is "
                              "already a token",
                              source, token.content, token.id),
                  "the two files must come from the same tokenizer");
    }
    file.bytes.push_back(token.content);
  }
  return file;
}

}  // namespace fathom
