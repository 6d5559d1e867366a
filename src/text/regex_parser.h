#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/unicode.h"

namespace fathom {

/// A pattern that Fathom cannot read, or that is too costly.
class PatternError : public Error {
 public:
  using Error::Error;
};

/// A parsed pattern. Only kSet consumes text (one code point of `set`).
struct RegexNode {
  enum class Kind { kSequence, kAlternatives, kRepeat, kSet, kLook };
  enum class Mode { kGreedy, kLazy, kPossessive };
  static constexpr uint32_t kUnlimited = UINT32_MAX;

  Kind kind = Kind::kSequence;  ///< of no children: matches the empty string
  std::vector<RegexNode> children;

  uint32_t min = 1, max = 1;  ///< kRepeat, of children[0]
  Mode mode = Mode::kGreedy;

  CodePointSet set;      ///< kSet and kLook
  bool negated = false;  ///< kLook: succeeds where the next code point is not in the set
  bool at_end = false;   ///< kLook: the set also contains the end of the text
};

/// Parses the part of Oniguruma's (Ruby) syntax that tokenizer patterns of the DeepSeek kind are
/// written in: literals and escapes; classes with ranges, negation, && and classes within, \s \S \d
/// \D \w \W and \p{..} of a general category or Han; groups, (?i:..) of ASCII literals,
/// alternatives, greedy, lazy and possessive quantifiers; $ and \z; and (?=..) (?!..) of a single
/// code point. Throws PatternError naming the offset of anything else.
RegexNode parse_regex(std::string_view pattern);
/// A pattern that matches the text itself.
RegexNode literal_regex(std::string_view text);

}  // namespace fathom
