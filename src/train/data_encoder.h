#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {
class Tokenizer;
}

namespace fathom::train {

/// Ids of the marks of a fill-in-the-middle document.
struct FimTokens {
  int32_t begin = -1, hole = -1, end = -1;
};

/// All that the data pipeline needs of a tokenizer.
struct TextEncoder {
  /// Plain text to ids, without special tokens; called from several threads at once.
  std::function<std::vector<int32_t>(std::string_view)> encode;
  int32_t vocab_size = 0;        ///< ids are below
  int32_t bos = -1, eos = -1;    ///< around a document; bos may be absent (-1)
  std::optional<FimTokens> fim;  ///< absent: the vocabulary has no such tokens
  std::string name;              ///< for messages: the tokenizer's path
  std::string fingerprint;       ///< differs between tokenizers that encode differently
};

/// The tokenizer must outlive the encoder. Throws Error when it has no end-of-sequence token.
TextEncoder text_encoder(const Tokenizer& tokenizer);

/// [bos] tokens eos.
std::vector<int32_t> encode_document(const TextEncoder& encoder, std::string_view text);

/// The document cut at two random characters and rearranged prefix-suffix-middle (TR §4.1):
///   [bos] fim_begin prefix fim_hole suffix fim_end middle eos.
/// The cuts depend on (seed, document) alone.
std::vector<int32_t> encode_fim_document(const TextEncoder& encoder, std::string_view text,
                                         uint64_t seed, uint64_t document);
/// Whether a document is one of the share `rate` that is rearranged.
bool chosen_for_fim(uint64_t seed, uint64_t document, double rate);

}  // namespace fathom::train
