#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_file.h"

namespace fathom {

/// The tokenizer inside a GGUF file, as its metadata tokenizer.ggml.* have it.
struct GgufVocabulary {
  /// tokenizer.ggml.token_type, as ggml numbers it.
  enum TokenType : int32_t {
    kNormal = 1,
    kUnknown,
    kControl,
    kUserDefined,
    kUnused,  ///< fills a hole of the ids
    kByte
  };

  std::string model;                ///< "gpt2": byte-level BPE, the only kind read
  std::string pre;                  ///< which patterns cut a text; the file does not hold them
  std::vector<std::string> tokens;  ///< by id, spelled as in tokenizer.json
  std::vector<int32_t> types;       ///< by id; empty: all are normal
  std::vector<std::string> merges;  ///< two tokens with a blank between, the first to apply first
  std::optional<int64_t> bos_id, eos_id, pad_id;
  std::optional<bool> add_bos, add_eos;
  std::string chat_template;
};

/// Values of `pre` whose patterns are known: those of DeepSeek's, Moonlight's and Kimi-K2's models.
std::string known_gguf_patterns();

/// The patterns that cut a text, in their order. Throws Error where `pre` is not known.
const std::vector<std::string>& gguf_patterns(const GgufVocabulary& vocabulary,
                                              const std::string& source);

/// Checked as parse_tokenizer_json checks its file. Control and user-defined tokens are found in
/// text as a whole. Throws Error naming `source`, the key and what to do.
TokenizerFile tokenizer_file_of(const GgufVocabulary& vocabulary, const std::string& source);
/// Its special tokens and chat template; from a vocabulary that tokenizer_file_of() has accepted.
TokenizerConfig tokenizer_config_of(const GgufVocabulary& vocabulary, const std::string& source);

/// The same tokenizer as tokenizer.json and tokenizer_config.json, written atomically; the
/// directory is made. Tokens that only fill holes of the ids become special ones. Throws Error as
/// tokenizer_file_of() does, or for what a tokenizer.json cannot say.
void save_tokenizer(const GgufVocabulary& vocabulary, const std::string& source,
                    const std::filesystem::path& directory);

}  // namespace fathom
