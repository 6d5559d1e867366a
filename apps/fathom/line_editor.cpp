#include "line_editor.h"

#include <editline/readline.h>
#include <langinfo.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>

namespace fathom::app {
namespace {

constexpr const char* kPrompt = "> ";
constexpr const char* kMorePrompt = ". ";
constexpr std::string_view kFence = "\"\"\"";
/// Lines that follow within this time were pasted: nobody types so fast.
constexpr int kPasteMilliseconds = 20;

volatile std::sig_atomic_t g_interrupted = 0;
termios g_terminal;  // as it was before a line is edited

void note_interrupt(int) {
  g_interrupted = 1;
}

/// libedit reads on after a signal: the process ends here, the terminal as it was.
void end_process(int number) {
  tcsetattr(STDIN_FILENO, TCSADRAIN, &g_terminal);
  _exit(128 + number);
}

/// While one lives, SIGINT ends a read instead of the process (no SA_RESTART), and SIGTERM the
/// process, which has nothing to finish.
class ReadInterrupt {
 public:
  ReadInterrupt() {
    g_interrupted = 0;
    tcgetattr(STDIN_FILENO, &g_terminal);
    struct sigaction action {};
    sigemptyset(&action.sa_mask);
    action.sa_handler = note_interrupt;
    sigaction(SIGINT, &action, &previous_int_);
    action.sa_handler = end_process;
    sigaction(SIGTERM, &action, &previous_term_);
  }
  ~ReadInterrupt() {
    sigaction(SIGINT, &previous_int_, nullptr);
    sigaction(SIGTERM, &previous_term_, nullptr);
  }
  ReadInterrupt(const ReadInterrupt&) = delete;
  ReadInterrupt& operator=(const ReadInterrupt&) = delete;

 private:
  struct sigaction previous_int_ {
  }, previous_term_{};
};

}  // namespace

LineEditor::LineEditor() : interactive_(isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1) {
  // libedit drops what the locale cannot spell; models read UTF-8 whatever the locale is.
  const char* locale = std::setlocale(LC_CTYPE, "");
  if (!locale || std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
    std::setlocale(LC_CTYPE, "C.UTF-8");
}

std::optional<std::string> LineEditor::edit_line(const char* prompt) {
  const ReadInterrupt interrupt;
  const std::unique_ptr<char, decltype(&std::free)> line(readline(prompt), &std::free);
  if (line) {
    if (*line) add_history(line.get());
    return std::string(line.get());
  }
  std::puts("");
  interrupted_ = g_interrupted != 0;
  if (!interrupted_) return std::nullopt;
  return std::string();
}

std::optional<std::string> LineEditor::read_line(const char* prompt) {
  if (interactive_) return edit_line(prompt);
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

bool LineEditor::more_pasted() const {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  return interactive_ && poll(&input, 1, kPasteMilliseconds) == 1;
}

/// Ends at the fence or at the end of input.
std::optional<std::string> LineEditor::read_fenced() {
  std::string message;
  bool first = true;
  while (const std::optional<std::string> line = read_line(kMorePrompt)) {
    if (interrupted_) return std::string();
    if (*line == kFence) break;
    if (!first) message += '\n';
    first = false;
    message += *line;
  }
  return message;
}

std::optional<std::string> LineEditor::read_message() {
  interrupted_ = false;
  std::optional<std::string> line = read_line(kPrompt);
  if (!line || interrupted_) return line;
  if (*line == kFence) return read_fenced();
  std::string message = *line;
  while (true) {
    const bool continued = message.ends_with('\\');
    if (continued) message.pop_back();
    if (!continued && !more_pasted()) return message;
    line = read_line(kMorePrompt);
    if (interrupted_) return std::string();
    if (!line) return message;
    message += '\n' + *line;
  }
}

}  // namespace fathom::app
