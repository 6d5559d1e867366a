#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "text/gguf_vocabulary.h"
#include "text/tokenizer_file.h"

namespace fathom {

struct EncodeOptions {
  /// Puts the tokenizer's special tokens around the text (DeepSeek: the beginning-of-sentence token
  /// before it), as tokenizer_config.json or the post-processor asks.
  bool add_special_tokens = false;
  /// Turns the text of added tokens, `<｜User｜>` say, into their ids. Leave it off for text that
  /// others wrote: with it off no input can produce an added token.
  bool parse_special = false;
};

/// Byte-level BPE from a tokenizer.json of the DeepSeek kind, or from a tiktoken.model as Moonlight
/// and Kimi-K2 have; ids equal those of Hugging Face tokenizers and of tiktoken (with both options
/// on). Immutable; any number of threads may use one.
///
/// Text need not be UTF-8: a byte that belongs to no valid sequence is treated as an unassigned
/// code point of one byte, so that decode(encode(x)) == x for all bytes x. (Hugging Face refuses
/// such input or replaces it by U+FFFD beforehand.) Where the vocabulary has no token for a byte
/// that UTF-8 never uses, U+FFFD is encoded instead.
class Tokenizer {
 public:
  /// path: a directory with tokenizer.json, or else tiktoken.model, and beside it
  /// tokenizer_config.json and chat_template.jinja where there are such; or the file itself. Which
  /// kind of tokenizer it is follows from the file, never from tokenizer_class.
  static Tokenizer load(const std::filesystem::path& path);
  /// source: named in errors. config: the text of a tokenizer_config.json, or empty.
  static Tokenizer from_json(std::string_view json, const std::string& source,
                             std::string_view config = {});

  /// The same from the text of a tiktoken.model; config must list its special tokens.
  static Tokenizer from_tiktoken(std::string_view ranks, const std::string& source,
                                 std::string_view config);
  /// The same from what a GGUF file carries.
  static Tokenizer from_gguf(const GgufVocabulary& vocabulary, const std::string& source);

  std::vector<int32_t> encode(std::string_view text, EncodeOptions options = {}) const;
  /// The same ids; the text is cut at places where that provably changes nothing.
  std::vector<int32_t> encode_parallel(std::string_view text, EncodeOptions options,
                                       ThreadPool& pool) const;
  std::vector<std::vector<int32_t>> encode_batch(std::span<const std::string_view> texts,
                                                 EncodeOptions options, ThreadPool& pool) const;

  /// The bytes of the ids; not valid UTF-8 when the ids are not (see replace_invalid_utf8 and
  /// StreamDecoder). Throws Error for an id outside the vocabulary.
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;
  std::string_view token_bytes(int32_t id) const;

  /// Tokens of the file, added ones included: ids are 0 to vocab_size() - 1. A model's vocabulary
  /// may be padded beyond.
  int32_t vocab_size() const { return static_cast<int32_t>(file_.bytes.size()); }
  /// token: as spelled in tokenizer.json, where each byte is one printable code point.
  std::optional<int32_t> id_of(std::string_view token) const;
  /// As id_of, but a missing token is an Error.
  int32_t require_id(std::string_view token) const;
  /// -1 where the files name no such token.
  int32_t bos_id() const { return bos_id_; }
  int32_t eos_id() const { return eos_id_; }
  int32_t pad_id() const { return pad_id_; }
  /// Whether decode leaves it out when asked to skip special tokens.
  bool is_special(int32_t id) const;
  const std::vector<AddedToken>& added_tokens() const { return file_.added_tokens; }
  /// Jinja text from tokenizer_config.json (or chat_template.jinja beside it); may be empty.
  const std::string& chat_template() const { return config_.chat_template; }
  /// The file or directory it came from, for messages.
  const std::string& source() const { return source_; }

 private:
  struct Scratch;
  class ScratchPool;
  class Borrowed;
  struct Deleter {
    void operator()(ScratchPool* pool) const;
  };

  Tokenizer(TokenizerFile file, TokenizerConfig config, std::string source);
  int32_t config_id(const char* field, const std::optional<std::string>& token) const;
  void settle_special_tokens();
  Bpe make_bpe() const;

  size_t chunk_end(std::string_view text, size_t begin, size_t bytes, EncodeOptions options) const;
  void encode_chunk(std::string_view text, EncodeOptions options, Scratch& scratch,
                    std::vector<int32_t>& ids) const;
  void encode_span(std::string_view text, EncodeOptions options, Scratch& scratch,
                   std::vector<int32_t>& ids) const;

  TokenizerFile file_;
  TokenizerConfig config_;
  std::string source_;
  PreTokenizer pre_tokenizer_;
  Bpe bpe_;
  AddedTokenMatcher matcher_;
  std::vector<bool> special_;
  int32_t bos_id_ = -1, eos_id_ = -1, pad_id_ = -1;
  std::unique_ptr<ScratchPool, Deleter> scratch_;
};

}  // namespace fathom
