#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fathom {

/// GPT-2's spelling of bytes in tokenizer.json: each byte is one printable code point. Printable
/// ones of Latin-1 stand for themselves; the other 68 are U+0100 upward in order (space is U+0120).
uint32_t spell_byte(uint8_t byte);
std::string spell_bytes(std::string_view bytes);
/// The bytes a token of the vocabulary stands for; nothing when it holds other code points.
std::optional<std::string> unspell_bytes(std::string_view token);

}  // namespace fathom
