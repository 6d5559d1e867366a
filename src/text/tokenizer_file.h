#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pre_tokenizer.h"

namespace fathom {

/// What a tokenizer.json or tiktoken.model says, checked: ids are 0 to n-1 without holes or
/// doubles, every merge names tokens of the vocabulary, and no setting is one that Fathom would
/// have to ignore.
struct TokenizerFile {
  TokenIds ids;                         ///< by spelling in tokenizer.json; added tokens included
  std::vector<std::string> bytes;       ///< by id: what the token decodes to
  std::array<int32_t, 256> byte_ids{};  ///< the tokens of single bytes; -1: none
  std::vector<Bpe::Merge> merges;
  MergeOrder merge_order = MergeOrder::kListed;
  bool ignore_merges = false;
  std::vector<AddedToken> added_tokens;
  std::vector<SplitStep> split_steps;
  std::vector<int32_t> prefix, suffix;  ///< the post-processor's special tokens around a text
};

/// What a tokenizer_config.json says; absent or null fields are empty.
struct TokenizerConfig {
  std::optional<bool> add_bos_token, add_eos_token;
  std::optional<std::string> bos_token, eos_token, pad_token;
  std::string chat_template;
  /// added_tokens_decoder: the special tokens of a tiktoken.model; what a tokenizer.json lacks of
  /// them is added to it.
  std::vector<AddedToken> added_tokens;
};

/// Throw Error naming `source`, the field, its value and what to do.
TokenizerFile parse_tokenizer_json(std::string_view json, const std::string& source);
/// As transformers does with added_tokens_decoder: tokens that the file lacks are added in the
/// order of their ids, but with the next free ones; one that it has becomes special if listed so.
void add_listed_tokens(TokenizerFile& file, std::vector<AddedToken> listed);
TokenizerConfig parse_tokenizer_config(std::string_view json, const std::string& source);

}  // namespace fathom
