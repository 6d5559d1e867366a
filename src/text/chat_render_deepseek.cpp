// DeepSeek's chat templates, rendered exactly as the published Jinja does, its oddities included.
#include "text/chat_format.h"

namespace fathom {
namespace {

constexpr std::string_view kUser = "<｜User｜>", kAssistant = "<｜Assistant｜>",
                           kEos = "<｜end▁of▁sentence｜>";
constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>",
                           kCallsEnd = "<｜tool▁calls▁end｜>", kCallBegin = "<｜tool▁call▁begin｜>",
                           kCallEnd = "<｜tool▁call▁end｜>", kSeparator = "<｜tool▁sep｜>";
constexpr std::string_view kOutputsBegin = "<｜tool▁outputs▁begin｜>",
                           kOutputsEnd = "<｜tool▁outputs▁end｜>",
                           kOutputBegin = "<｜tool▁output▁begin｜>",
                           kOutputEnd = "<｜tool▁output▁end｜>";
constexpr std::string_view kThink = "<think>", kThinkEnd = "</think>";

std::string system_text(const ChatStyle& style, std::span<const ChatMessage> messages) {
  std::string text;
  bool first = true;
  for (const ChatMessage& m : messages) {
    if (m.role != "system") continue;
    if (!style.joins_system) text.clear();
    if (style.joins_system && !first) text += "\n\n";
    text += m.content;
    first = false;
  }
  return text;
}

std::string_view after_last(std::string_view text, std::string_view mark) {
  const size_t at = text.rfind(mark);
  return at == std::string_view::npos ? text : text.substr(at + mark.size());
}

std::string_view after_first(std::string_view text, std::string_view mark) {
  const size_t at = text.find(mark);
  return at == std::string_view::npos ? text : text.substr(at + mark.size());
}

std::string_view without_reasoning(const ChatStyle& style, std::string_view content) {
  return style.strips_reasoning ? after_last(content, kThinkEnd) : content;
}

/// A conversation on its way into a prompt; the flags are those of the templates.
class Writer {
 public:
  Writer(const ChatStyle& style, const ChatConversation& chat, ChatPrompt& out)
      : style_(style), chat_(chat), out_(out) {
    for (const ChatMessage& m : chat.messages) {
      if (m.role == "system") out_.text(style.stray_blanks);
    }
    out_.marker(chat.bos);
    out_.text(system_text(style, chat.messages));
  }

  /// V2.5, V3, R1.
  void write_v3() {
    for (const ChatMessage& m : chat_.messages) {
      if (m.role == "user") {
        is_tool_ = false;
        out_.marker(kUser);
        out_.text(m.content);
      } else if (m.role == "assistant") {
        assistant_v3(m);
      } else if (m.role == "tool") {
        tool_result(m.content);
      }
    }
    if (is_tool_) out_.marker(kOutputsEnd);
    if (!chat_.options.add_generation_prompt || is_tool_) return;
    out_.marker(kAssistant);
    if (!style_.opens_thinking) return;
    out_.marker(kThink);
    out_.text("\n");
  }

  /// V3-0324, R1-0528: the user's turn ends in the Assistant marker.
  void write_v3_0324() {
    for (const ChatMessage& m : chat_.messages) {
      if (m.role == "user") {
        is_tool_ = has_call_ = false;
        is_last_user_ = true;
        out_.marker(kUser);
        out_.text(m.content);
        out_.marker(kAssistant);
      } else if (m.role == "assistant") {
        is_last_user_ = false;
        assistant_v3_0324(m);
      } else if (m.role == "tool") {
        is_last_user_ = false;
        tool_result(m.content);
      }
    }
    if (is_tool_) out_.marker(kOutputsEnd);
    if (chat_.options.add_generation_prompt && !is_last_user_ && !is_tool_) out_.marker(kAssistant);
  }

  void write_v3_1() {
    for (const ChatMessage& m : chat_.messages) {
      if (m.role == "user") {
        is_tool_ = false;
        is_last_user_ = true;
        out_.marker(kUser);
        out_.text(m.content);
      } else if (m.role == "assistant") {
        assistant_v3_1(m);
      } else if (m.role == "tool") {
        is_last_user_ = false;
        is_tool_ = true;
        tool_output(m.content);
      }
    }
    if (!chat_.options.add_generation_prompt || !is_last_user_ || is_tool_) return;
    out_.marker(kAssistant);
    out_.marker(chat_.options.thinking.value_or(false) ? kThink : kThinkEnd);
  }

 private:
  void turn_end(std::string_view content) {
    out_.text(content);
    out_.marker(kEos);
  }

  void call_in_fence(const ToolCall& call) {
    out_.marker(kCallBegin);
    out_.text("function");
    out_.marker(kSeparator);
    out_.text(call.name + "\n```json\n" + call.arguments + "\n```");
    out_.marker(kCallEnd);
  }

  void calls_end() {
    out_.marker(kCallsEnd);
    out_.marker(kEos);
  }

  void tool_output(std::string_view content) {
    out_.marker(kOutputBegin);
    out_.text(content);
    out_.marker(kOutputEnd);
  }

  void tool_result(std::string_view content) {
    is_tool_ = true;
    if (!has_output_) {
      out_.marker(kOutputsBegin);
    } else if (style_.outputs_on_lines) {
      out_.text("\n");
    }
    has_output_ = true;
    tool_output(content);
  }

  void assistant_v3(const ChatMessage& m) {
    if (!m.tool_calls.empty() && (style_.calls_beside_content || m.content.empty())) {
      return calls_v3(m);
    }
    if (is_tool_) {
      out_.marker(kOutputsEnd);
      turn_end(m.content);
      is_tool_ = false;
    } else {
      out_.marker(kAssistant);
      turn_end(without_reasoning(style_, m.content));
    }
  }

  /// The first templates closed the list after every call but the conversation's first.
  void calls_v3(const ChatMessage& m) {
    is_tool_ = false;
    for (const ToolCall& call : m.tool_calls) {
      const bool later = has_call_;
      if (later) {
        out_.text("\n");
      } else {
        out_.marker(kAssistant);
        out_.text(m.content);
        out_.marker(kCallsBegin);
      }
      has_call_ = true;
      call_in_fence(call);
      if (later && !style_.calls_beside_content) calls_end();
    }
    if (style_.calls_beside_content) calls_end();
  }

  void assistant_v3_0324(const ChatMessage& m) {
    const std::string_view content = without_reasoning(style_, m.content);
    if (is_tool_) out_.marker(kOutputsEnd);
    is_tool_ = false;
    if (m.tool_calls.empty()) return turn_end(content);
    has_output_ = false;
    out_.text(content);
    for (size_t i = 0; i < m.tool_calls.size(); ++i) {
      i == 0 ? out_.marker(kCallsBegin) : out_.text("\n");
      call_in_fence(m.tool_calls[i]);
    }
    calls_end();
  }

  void assistant_v3_1(const ChatMessage& m) {
    if (is_last_user_) {
      out_.marker(kAssistant);
      out_.marker(kThinkEnd);
    }
    is_last_user_ = false;
    const bool after_tool = is_tool_;
    is_tool_ = false;
    if (m.tool_calls.empty()) {
      return turn_end(after_tool ? m.content : after_first(m.content, kThinkEnd));
    }
    out_.text(m.content);
    out_.marker(kCallsBegin);
    for (const ToolCall& call : m.tool_calls) {
      out_.marker(kCallBegin);
      out_.text(call.name);
      out_.marker(kSeparator);
      out_.text(call.arguments);
      out_.marker(kCallEnd);
    }
    calls_end();
  }

  const ChatStyle& style_;
  const ChatConversation& chat_;
  ChatPrompt& out_;
  bool has_call_ = false, has_output_ = false;
  bool is_tool_ = false, is_last_user_ = false;  ///< what the turn before was
};

}  // namespace

void render_deepseek_v2(const ChatStyle&, const ChatConversation& chat, ChatPrompt& out) {
  out.marker(chat.bos);
  for (const ChatMessage& m : chat.messages) {
    if (m.role == "assistant") {
      out.text("Assistant: " + m.content);
      out.marker(chat.eos);
    } else {
      out.text((m.role == "user" ? "User: " : "") + m.content + "\n\n");
    }
  }
  if (chat.options.add_generation_prompt) out.text("Assistant:");
}

void render_deepseek_v3(const ChatStyle& style, const ChatConversation& chat, ChatPrompt& out) {
  Writer(style, chat, out).write_v3();
}

void render_deepseek_v3_0324(const ChatStyle& style, const ChatConversation& chat,
                             ChatPrompt& out) {
  Writer(style, chat, out).write_v3_0324();
}

void render_deepseek_v3_1(const ChatStyle& style, const ChatConversation& chat, ChatPrompt& out) {
  Writer(style, chat, out).write_v3_1();
}

}  // namespace fathom
