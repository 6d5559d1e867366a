#pragma once

#include <optional>
#include <string>

namespace fathom::app {

/// Reads messages from the user: with editing and history on a terminal, plainly from a pipe.
class LineEditor {
 public:
  LineEditor();

  bool interactive() const { return interactive_; }
  /// One line; several when they are pasted at once, when a line ends in a backslash, or when they
  /// stand between two lines of """. Ctrl-C forgets what was typed and gives an empty message.
  /// Nothing at the end of input.
  std::optional<std::string> read_message();

 private:
  std::optional<std::string> read_line(const char* prompt);
  std::optional<std::string> edit_line(const char* prompt);
  std::optional<std::string> read_fenced();
  bool more_pasted() const;

  bool interactive_;
  bool interrupted_ = false;
};

}  // namespace fathom::app
