#pragma once

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>

#include "base/file.h"
#include "text/unicode.h"

namespace fathom {

inline std::filesystem::path fixture(const std::string& name) {
  return std::filesystem::path(FATHOM_SOURCE_DIR) / "tests/fixtures/tokenizer" / name;
}

inline nlohmann::json fixture_json(const std::string& name) {
  return nlohmann::json::parse(read_text_file(fixture(name)));
}

/// The real DeepSeek-V3 tokenizer is too large to commit: FATHOM_V3_TOKENIZER names its directory.
inline std::optional<std::filesystem::path> v3_directory() {
  const char* named = std::getenv("FATHOM_V3_TOKENIZER");
  const std::filesystem::path beside = "../shared/data/deepseek-v3-tokenizer";
  const std::filesystem::path path =
      named != nullptr ? named : std::filesystem::path(FATHOM_SOURCE_DIR) / beside;
  if (!std::filesystem::exists(path / "tokenizer.json")) return std::nullopt;
  return path;
}

/// Words, white space, many scripts, special tokens and, on request, stray bytes.
inline std::string random_text(uint32_t seed, size_t bytes, bool valid_utf8) {
  std::mt19937 random(seed);
  const auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  static const std::vector<std::string> words = {"the",        "Hello",
                                                 "don't",      "12345",
                                                 "3.14",       "foo_bar(x)",
                                                 "<｜User｜>", "<｜end▁of▁sentence｜>",
                                                 "<｜",        "。",
                                                 "中文字",     "カナ",
                                                 "é",          "👨‍👩‍👧",
                                                 "\r\n",       "\n\n",
                                                 "    ",       "\t",
                                                 "...",        "ß",
                                                 "<",          "\u3000"};
  std::string text;
  while (text.size() < bytes) {
    const uint32_t kind = below(valid_utf8 ? 8 : 9);
    if (kind < 4) text += words[below(static_cast<uint32_t>(words.size()))];
    if (kind == 4 || kind == 5) text += ' ';
    if (kind == 6) append_utf8(text, below(0xD800));
    if (kind == 7) append_utf8(text, 0xE000 + below(0x102000));
    if (kind == 8) text += static_cast<char>(below(256));
  }
  return text;
}

}  // namespace fathom
