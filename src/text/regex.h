#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/regex_parser.h"

namespace fathom {

/// Bytes [begin, end) of a text.
struct TextSpan {
  size_t begin, end;
  bool operator==(const TextSpan&) const = default;
};

/// A compiled pattern: backtracking, the first alternative that matches wins, as in Oniguruma. Code
/// points are first mapped to the few classes that the pattern tells apart, so that every test of a
/// set is a bit test. Immutable: threads share it, each with its own Scratch.
class Regex {
 public:
  struct Frame {
    uint32_t pc;
    size_t low, pos;  ///< resume at pos; then at each code point before it, down to low
  };
  struct Scratch {
    std::vector<Frame> stack;
    /// Backtracking steps left; below zero the search throws PatternError. Set by allow().
    int64_t steps = 0;
    /// Room for any pattern of quadratic cost on a text of this many bytes, none for exponential.
    void allow(size_t bytes);
  };

  explicit Regex(const RegexNode& pattern);

  /// The leftmost match that begins at `from` or later.
  bool find(std::string_view text, size_t from, Scratch& scratch, TextSpan& match) const;

  // What cutting a text between code points x and y, and searching both parts alone, relies on.
  /// Whether some match could contain x directly followed by y.
  bool may_span(uint32_t x, uint32_t y) const;
  /// Whether, after x was consumed, what follows it may be looked at without being consumed.
  bool looks_past(uint32_t x) const { return looks_past_ >> class_of(x) & 1; }
  /// Whether a search that arrives at y surely finds a match that begins there.
  bool starts_match(uint32_t y) const { return starts_match_ >> class_of(y) & 1; }
  bool matches_empty() const { return first_[0] >> kEndClass & 1; }

 private:
  /// The end of the text is a class of its own, which no set contains.
  static constexpr uint32_t kEndClass = 63;

  enum class Op : uint8_t { kSet, kRepeat, kLook, kSplit, kJump, kMatch };
  struct Instruction {
    Op op;
    bool possessive = false;
    uint32_t min = 1, max = 1;       ///< kRepeat
    uint32_t target = 0, other = 0;  ///< kJump; kSplit prefers target
    uint64_t mask = 0;               ///< classes: kSet and kRepeat consume, kLook accepts
  };
  struct Step {
    uint32_t cls;
    uint32_t bytes;
  };
  class Compiler;
  struct Reach;

  uint32_t class_of(uint32_t c) const { return blocks_[page_[c >> 8] << 8 | (c & 0xFF)]; }
  Step step(std::string_view text, size_t at) const;
  size_t skip(std::string_view text, size_t at, uint64_t mask, uint32_t max) const;
  size_t match(std::string_view text, size_t start, Scratch& scratch) const;
  Reach reach(size_t pc, const std::vector<Reach>& known) const;
  void analyse_cuts();

  std::vector<Instruction> program_;
  std::vector<uint64_t> first_;  ///< by pc: classes at which running on from there may succeed
  std::array<uint8_t, 128> ascii_class_{};
  std::vector<uint16_t> page_;  ///< by code point >> 8: index of a block of 256 classes
  std::vector<uint8_t> blocks_;
  std::array<uint64_t, 64> may_follow_{};  ///< by class x: classes y of may_span
  uint64_t looks_past_ = 0, starts_match_ = 0;
};

}  // namespace fathom
