#pragma once

#include <filesystem>
#include <optional>

#include "text/tokenizer.h"

namespace fathom {

/// The tokenizer that a GGUF file carries; nothing when it has none. Throws Error when it is of a
/// kind that is not read.
std::optional<Tokenizer> gguf_tokenizer(const std::filesystem::path& path);

}  // namespace fathom
