#include "text/byte_level.h"

#include <array>

#include "text/unicode.h"

namespace fathom {
namespace {

struct Spelling {
  std::array<uint32_t, 256> code_point;
  std::array<int16_t, 0x144> byte;  // -1: spells none
};

constexpr Spelling make_spelling() {
  Spelling s{};
  s.byte.fill(-1);
  uint32_t next = 0x100;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
    s.code_point[b] = printable ? b : next++;
    s.byte[s.code_point[b]] = static_cast<int16_t>(b);
  }
  return s;
}

constexpr Spelling kSpelling = make_spelling();

}  // namespace

uint32_t spell_byte(uint8_t byte) {
  return kSpelling.code_point[byte];
}

std::string spell_bytes(std::string_view bytes) {
  std::string out;
  for (char b : bytes) append_utf8(out, spell_byte(static_cast<uint8_t>(b)));
  return out;
}

std::optional<std::string> unspell_bytes(std::string_view token) {
  std::string out;
  for (size_t at = 0; at < token.size();) {
    const DecodedCodePoint c = decode_code_point(token, at);
    if (c.value >= kSpelling.byte.size() || kSpelling.byte[c.value] < 0) return std::nullopt;
    out += static_cast<char>(kSpelling.byte[c.value]);
    at += c.bytes;
  }
  return out;
}

}  // namespace fathom
