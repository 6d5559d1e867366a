#pragma once

#include <filesystem>
#include <optional>

#include "checkpoint/gguf_file.h"
#include "text/tokenizer.h"

namespace fathom {

/// The vocabulary among the metadata of a file; nothing when it has none. Throws Error for values
/// of a wrong type.
std::optional<GgufVocabulary> gguf_vocabulary(const std::map<std::string, GgufValue>& metadata,
                                              std::span<const std::byte> file,
                                              const std::string& source);
std::optional<GgufVocabulary> gguf_vocabulary(const std::filesystem::path& path);
/// The tokenizer that a GGUF file carries; nothing when it has none. Throws Error when it is of a
/// kind that is not read.
std::optional<Tokenizer> gguf_tokenizer(const std::filesystem::path& path);

}  // namespace fathom
