#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"

namespace fathom {

/// What becomes of the matches of a Split step, and of the gaps between them.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// One step of a tokenizer.json pre-tokenizer: cuts every piece that the step before it left.
struct SplitStep {
  Regex regex;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  ///< the gaps count as matches and the matches as gaps
};

/// Cuts text into the pieces within which BPE may merge.
class PreTokenizer {
 public:
  struct Scratch {
    Regex::Scratch regex;
    std::vector<TextSpan> pieces, next;
  };

  explicit PreTokenizer(std::vector<SplitStep> steps = {});

  /// The three patterns and ByteLevel step of DeepSeek-V3.
  static PreTokenizer deepseek_v3();

  /// The pieces of text in order, never empty; valid until the next call with this scratch.
  const std::vector<TextSpan>& split(std::string_view text, Scratch& scratch) const;

  /// Whether split(a + b) is always split(a) followed by split(b) where a ends in the code point x
  /// and b begins with y. Proven from the patterns: no match can span the place or look past it,
  /// and y begins a match of its own.
  bool may_cut(uint32_t x, uint32_t y) const;
  /// The first such place in text at or after `from`; text.size() when there is none.
  size_t next_cut(std::string_view text, size_t from) const;

 private:
  void apply(const SplitStep& step, std::string_view text, Scratch& scratch) const;

  std::vector<SplitStep> steps_;
  bool cuttable_;
};

/// DeepSeek-V3's three Split patterns, in order.
const std::vector<std::string>& deepseek_v3_patterns();

}  // namespace fathom
