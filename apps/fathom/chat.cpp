#include <fmt/format.h>

#include <cstdio>
#include <optional>

#include "base/file.h"
#include "base/interrupt.h"
#include "generation.h"
#include "line_editor.h"
#include "text/chat_template.h"

namespace fathom::app {
namespace {

constexpr const char* kHelp =
    "  /reset        forget the conversation\n"
    "  /save FILE    write the conversation to a file\n"
    "  /help         this text\n"
    "  /quit         leave (also Ctrl-D)\n"
    "  \"\"\"           begin and end a message of several lines\n"
    "  Ctrl-C        stop a reply\n";

// A conversation on the terminal. The engine keeps what it has read from turn to turn.
class Chat {
 public:
  Chat(const GlobalOptions& global, const ChatArguments& arguments)
      : arguments_(arguments),
        generation_(global, arguments.model, arguments.sampling, 0),
        template_(generation_.tokenizer()) {
    reset();
  }

  void run() {
    LineEditor editor;
    if (editor.interactive()) fmt::print("{}: /help lists the commands\n", arguments_.model);
    while (const std::optional<std::string> message = read_message(editor)) {
      if (message->empty()) continue;
      if (message->front() == '/') {
        if (!command(*message)) return;
      } else {
        reply(*message);
      }
    }
  }

 private:
  static constexpr std::string_view kFence = "\"\"\"";

  // One line, or what stands between two lines of """.
  static std::optional<std::string> read_message(LineEditor& editor) {
    std::optional<std::string> line = editor.read("> ");
    if (!line || *line != kFence) return line;
    std::string message;
    while ((line = editor.read(". ")) && *line != kFence)
      message += (message.empty() ? "" : "\n") + *line;
    return message;
  }

  void reset() {
    messages_.clear();
    if (!arguments_.system.empty()) messages_.push_back({"system", arguments_.system});
  }

  // False: leave.
  bool command(const std::string& line) {
    if (line == "/quit" || line == "/exit") return false;
    if (line == "/reset") {
      reset();
      fmt::print("(forgotten)\n");
    } else if (line.starts_with("/save ")) {
      save(line.substr(6));
    } else {
      fmt::print("{}", kHelp);
    }
    return true;
  }

  void save(const std::string& path) const {
    try {
      write_text_file(path, template_.render(messages_, false));
      fmt::print("(saved {})\n", path);
    } catch (const Error& e) {  // a wrong path must not end the conversation
      fmt::print("{}\n", e.what());
    }
  }

  void reply(const std::string& message) {
    messages_.push_back({"user", message});
    GenerateOptions request = generation_.options();
    request.max_new_tokens = arguments_.max_new_tokens;
    request.reuse_cache = true;
    std::string text;
    try {
      const InterruptGuard interrupt;
      const GenerateResult result =
          fathom::generate(generation_.engine(), template_.encode(messages_, true), request,
                           [&](const GeneratedToken& token) {
                             std::fwrite(token.text.data(), 1, token.text.size(), stdout);
                             std::fflush(stdout);
                             text += token.text;
                             return !interrupt.requested();
                           });
      fmt::print("\n");
      if (result.finish_reason == FinishReason::kLength) fmt::print("(cut at the limit)\n");
    } catch (const Error& e) {
      messages_.pop_back();
      fmt::print("{}; /reset starts anew\n", e.what());
      return;
    }
    messages_.push_back({"assistant", text});
  }

  const ChatArguments& arguments_;
  Generation generation_;
  ChatTemplate template_;
  std::vector<ChatMessage> messages_;
};

}  // namespace

int run_chat(const GlobalOptions& global, const ChatArguments& arguments) {
  Chat(global, arguments).run();
  return 0;
}

}  // namespace fathom::app
