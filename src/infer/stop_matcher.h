#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom {

/// Finds stop strings in text that arrives in pieces. Text that may be the beginning of a stop
/// string is held back until that is decided, so that nothing of one is ever passed on. The result
/// does not depend on where pieces are cut: the stop string that is complete first counts (the
/// longest of those that end at the same byte).
class StopMatcher {
 public:
  /// Throws when a stop string is empty.
  explicit StopMatcher(std::vector<std::string> stops);

  /// Text that may be passed on now. Nothing is accepted after a match.
  std::string feed(std::string_view text);
  bool matched() const { return matched_; }
  /// What is still held back, when no more text will come.
  std::string flush();

 private:
  /// Length of the stop string at the end of held_; 0 if none.
  size_t match() const;
  /// Length of the longest end of held_ that begins a stop string.
  size_t undecided() const;

  std::vector<std::string> stops_;
  std::string held_;
  bool matched_ = false;
};

}  // namespace fathom
