#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/unicode_tables.h"

namespace fathom {

inline constexpr uint32_t kMaxCodePoint = 0x10FFFF;
/// Stands for a byte that belongs to no valid UTF-8 sequence: a noncharacter of category Cn, so
/// that patterns treat it like any unassigned code point.
inline constexpr uint32_t kInvalidByte = 0x10FFFF;

struct DecodedCodePoint {
  uint32_t value;
  uint32_t bytes;  ///< 1 to 4; an invalid byte is one byte long
};

/// The code point that starts at text[at]; at < text.size(). Overlong forms, surrogates and values
/// past U+10FFFF are invalid.
DecodedCodePoint decode_code_point(std::string_view text, size_t at);
/// Where the code point that ends at text[end] begins; end > 0. Agrees with decoding forwards.
size_t previous_code_point(std::string_view text, size_t end);
void append_utf8(std::string& out, uint32_t code_point);

/// A copy in which each maximal invalid subsequence is replaced by U+FFFD, as the Unicode standard
/// recommends and as Rust and Python do.
std::string replace_invalid_utf8(std::string_view text);
/// The length of the unfinished but so far valid UTF-8 sequence at the end of text: 0 to 3.
size_t incomplete_suffix(std::string_view text);

/// A set of code points as sorted, disjoint, non-adjacent ranges.
class CodePointSet {
 public:
  CodePointSet() = default;
  explicit CodePointSet(std::vector<CodePointRange> ranges);

  void add(const CodePointSet& other);
  CodePointSet complement() const;
  CodePointSet intersection(const CodePointSet& other) const;
  const std::vector<CodePointRange>& ranges() const { return ranges_; }
  bool contains(uint32_t code_point) const;

 private:
  void normalize();
  std::vector<CodePointRange> ranges_;
};

/// A general category or its group, "Lu" or "L"; nothing when there is no such name.
std::optional<CodePointSet> category_set(std::string_view name);
/// What \p{name} matches: a category, or the script Han (the one that tokenizer patterns name).
std::optional<CodePointSet> property_set(std::string_view name);
const CodePointSet& white_space_set();
const CodePointSet& word_set();

}  // namespace fathom
