#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace fathom {

/// Both ends included.
struct CodePointRange {
  uint32_t first, last;
};

/// General categories: "Lu", "Ll", …
extern const std::array<std::string_view, 30> kCategoryNames;
/// Each run is its first code point << 8 | index into kCategoryNames; ends where the next begins.
extern const std::span<const uint32_t> kCategoryRuns;
/// What \s and \w match.
extern const std::span<const CodePointRange> kWhiteRanges;
extern const std::span<const CodePointRange> kWordRanges;
/// The script Han, \p{Han}.
extern const std::span<const CodePointRange> kHanRanges;

}  // namespace fathom
