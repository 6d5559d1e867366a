#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "chat_view.h"
#include "generation.h"
#include "line_editor.h"
#include "text/chat_template.h"

namespace fathom::app {
namespace {

// Tokens, unless --max-new-tokens says otherwise.
constexpr int64_t kLongestReply = 8192, kLongestThoughtfulReply = 32768;

constexpr const char* kHelp =
    "  /reset           forget the conversation\n"
    "  /system TEXT     set the system text, and forget the conversation\n"
    "  /save FILE       write the conversation: as JSON if FILE ends in .json, else as the prompt\n"
    "  /thinking on|off let the model reason first, where it has the choice\n"
    "  /stats           print tokens and speed after each reply, or stop doing so\n"
    "  /help            this text\n"
    "  /quit            leave (also Ctrl-D)\n"
    "  \"\"\"              begin and end a message of several lines; a backslash at the end of a\n"
    "                   line continues it, and what is pasted at once is one message\n"
    "  Ctrl-C           stop a reply, or forget the line\n"
    "  A message that begins with / is written with a blank before it.\n";

nlohmann::ordered_json to_json(const ChatMessage& message) {
  nlohmann::ordered_json json = {{"role", message.role}, {"content", message.content}};
  if (!message.reasoning.empty()) json["reasoning_content"] = message.reasoning;
  return json;
}

// A conversation with the user. The engine keeps what it has read from turn to turn.
class Chat {
 public:
  Chat(const GlobalOptions& global, const ChatArguments& arguments)
      : arguments_(arguments),
        system_(arguments.system),
        stats_(arguments.stats),
        generation_(global, arguments.model, arguments.sampling,
                    [](const Tokenizer&) { return int64_t{0}; }),
        template_(generation_.tokenizer(), arguments.chat_template) {
    options_.thinking = arguments.thinking;
    const ChatMessage probe[] = {{"user", "x"}};
    template_.encode(probe, options_);  // an option that the template lacks is said now
    reset();
  }

  /// The exit status.
  int run() {
    LineEditor editor;
    if (editor.interactive()) {
      notes_ = stdout;
      fmt::print(notes_, "{}: chat template {} ({}); /help lists the commands\n", arguments_.model,
                 template_.format().name, template_.format().models);
    }
    while (const std::optional<std::string> message = editor.read_message()) {
      if (message->empty()) continue;
      if (!message->starts_with('/')) {
        reply(*message);
        if (ended_by_ != 0) return Interrupted{ended_by_}.exit_status();
      } else if (!command(*message)) {
        return 0;
      }
    }
    return 0;
  }

 private:
  void reset() {
    messages_.clear();
    if (!system_.empty()) messages_.push_back({"system", system_});
  }

  // False: leave.
  bool command(const std::string& line) {
    const size_t blank = std::min(line.find(' '), line.size());
    const std::string name = line.substr(0, blank);
    const std::string rest = line.substr(std::min(blank + 1, line.size()));
    if (name == "/quit" || name == "/exit") return false;
    if (name == "/reset") {
      reset();
      fmt::print(notes_, "(forgotten)\n");
    } else if (name == "/system") {
      system_ = rest;
      reset();
      fmt::print(notes_, "(begun anew)\n");
    } else if (name == "/save") {
      rest.empty() ? fmt::print(notes_, "/save needs the name of a file\n") : save(rest);
    } else if (name == "/thinking") {
      if (rest == "on" || rest == "off")
        set_thinking(rest == "on");
      else
        fmt::print(notes_, "/thinking needs on or off\n");
    } else if (name == "/stats") {
      stats_ = !stats_;
      fmt::print(notes_, "(statistics {})\n", stats_ ? "on" : "off");
    } else {
      if (name != "/help") fmt::print(notes_, "{} is not a command:\n", line);
      fmt::print(notes_, "{}", kHelp);
    }
    return true;
  }

  void set_thinking(bool on) {
    if (!template_.format().has_thinking_switch) {
      fmt::print(notes_, "({} has no such choice)\n", template_.format().name);
      return;
    }
    options_.thinking = on;
    fmt::print(notes_, "(thinking {})\n", on ? "on" : "off");
  }

  std::string conversation(const std::string& path) const {
    if (!path.ends_with(".json")) {
      ChatOptions options = options_;
      options.add_generation_prompt = false;
      return template_.render(messages_, options);
    }
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const ChatMessage& message : messages_) list.push_back(to_json(message));
    const auto replace = nlohmann::ordered_json::error_handler_t::replace;
    return nlohmann::ordered_json{{"messages", list}}.dump(2, ' ', false, replace) + "\n";
  }

  void save(const std::string& path) const {
    try {
      write_text_file(path, conversation(path));
      fmt::print(notes_, "(saved {})\n", path);
    } catch (const Error& e) {  // a wrong path must not end the conversation
      fmt::print(notes_, "{}\n", e.what());
    }
  }

  /// A model that does not find an end must not write for an hour.
  int64_t longest_reply() const {
    if (arguments_.max_new_tokens > 0) return arguments_.max_new_tokens;
    return template_.opens_thinking(options_) ? kLongestThoughtfulReply : kLongestReply;
  }

  GenerateOptions request() const {
    GenerateOptions request = generation_.options();
    request.max_new_tokens = longest_reply();
    request.reuse_cache = true;
    // Tags that some tokenizers list as special are shown all the same: the view looks for them.
    const Tokenizer& tokenizer = generation_.tokenizer();
    request.token_text = [plain = request.token_text, open = tokenizer.id_of("<think>"),
                          close = tokenizer.id_of("</think>")](int32_t id) -> std::string {
      return id == open ? "<think>" : id == close ? "</think>" : plain(id);
    };
    return request;
  }

  void reply(const std::string& message) {
    messages_.push_back({"user", message});
    try {
      answer();
    } catch (const Error& e) {
      messages_.pop_back();
      fmt::print(notes_, "{} ({}); /reset starts anew\n", e.what(), e.hint());
    }
    std::fflush(stdout);
  }

  void answer() {
    const std::vector<int32_t> prompt = template_.encode(messages_, options_);
    const int32_t end = template_.end_of_turn();
    ReplyView view(template_.opens_thinking(options_));
    bool ended = false;
    const InterruptGuard interrupt;
    const auto stop = [&] { return interrupt.requested(); };
    const auto on_token = [&](const GeneratedToken& token) {
      view.add(token.text);
      ended = token.id == end;
      return !ended && !stop();
    };
    const GenerateResult result =
        fathom::generate(generation_.engine(), prompt, request(), on_token, stop);
    view.finish();
    if (interrupt.signal_number() == SIGTERM) ended_by_ = SIGTERM;
    if (result.ids.empty()) {
      messages_.pop_back();
      fmt::print(notes_,
                 "(stopped before the reply began: the message is not part of the "
                 "conversation)\n");
      return;
    }
    messages_.push_back(
        {.role = "assistant", .content = view.content(), .reasoning = view.reasoning()});
    explain_end(result, ended);
    if (stats_) print_stats(result);
  }

  void explain_end(const GenerateResult& result, bool ended) const {
    if (ended || result.finish_reason == FinishReason::kStop) return;
    const int64_t context = generation_.max_context();
    const bool full = result.prompt_tokens + static_cast<int64_t>(result.ids.size()) >= context;
    if (result.finish_reason == FinishReason::kInterrupted) {
      fmt::print(notes_, "(stopped)\n");
    } else if (full) {
      fmt::print(notes_, "(the context of {} tokens is full; /reset starts anew)\n", context);
    } else {
      fmt::print(notes_, "(cut after {} tokens: --max-new-tokens)\n", result.ids.size());
    }
  }

  void print_stats(const GenerateResult& r) const {
    fmt::print(notes_,
               "({} prompt tokens, {} of them read before; {} new; prefill {:.1f} tokens/s, decode "
               "{:.1f} tokens/s",
               r.prompt_tokens, r.reused_tokens, r.ids.size(), r.prefill_tokens_per_s(),
               r.decode_tokens_per_s());
    if (r.mtp.drafted > 0)
      fmt::print(notes_, "; {} of {} drafts accepted", r.mtp.accepted, r.mtp.drafted);
    fmt::print(notes_, ")\n");
  }

  const ChatArguments& arguments_;
  std::string system_;
  bool stats_;
  int ended_by_ = 0;           // SIGTERM, which ends the program and not only a reply
  std::FILE* notes_ = stderr;  // from a pipe, standard output has the replies alone
  Generation generation_;
  ChatTemplate template_;
  ChatOptions options_;
  std::vector<ChatMessage> messages_;
};

}  // namespace

int run_chat(const GlobalOptions& global, const ChatArguments& arguments) {
  return Chat(global, arguments).run();
}

}  // namespace fathom::app
