#pragma once

#include <optional>
#include <string>

namespace fathom::app {

/// Reads lines from the user: with editing and history on a terminal, plainly from a pipe.
class LineEditor {
 public:
  LineEditor();

  bool interactive() const { return interactive_; }
  /// Nothing at the end of input.
  std::optional<std::string> read(const char* prompt);

 private:
  bool interactive_;
};

}  // namespace fathom::app
