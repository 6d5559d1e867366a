// Moonshot's chat templates: <|im_ROLE|>name<|im_middle|>content<|im_end|>, no bos.
#include "text/chat_format.h"
#include "text/chat_json.h"

namespace fathom {
namespace {

constexpr std::string_view kSystem = "<|im_system|>", kUser = "<|im_user|>",
                           kAssistant = "<|im_assistant|>", kMiddle = "<|im_middle|>",
                           kEnd = "<|im_end|>";
constexpr std::string_view kCallsBegin = "<|tool_calls_section_begin|>",
                           kCallsEnd = "<|tool_calls_section_end|>",
                           kCallBegin = "<|tool_call_begin|>",
                           kArguments = "<|tool_call_argument_begin|>",
                           kCallEnd = "<|tool_call_end|>";

void heading(std::string_view marker, std::string_view name, ChatPrompt& out) {
  out.marker(marker);
  out.text(name);
  out.marker(kMiddle);
}

std::string_view marker_of(const ChatMessage& m) {
  return m.role == "user" ? kUser : m.role == "assistant" ? kAssistant : kSystem;
}

void message_heading(const ChatMessage& m, ChatPrompt& out) {
  heading(marker_of(m), m.name.empty() ? m.role : m.name, out);
}

void whole_message(std::string_view marker, std::string_view name, std::string_view content,
                   ChatPrompt& out) {
  heading(marker, name, out);
  out.text(content);
  out.marker(kEnd);
}

void preamble(const ChatStyle& style, const ChatConversation& chat, ChatPrompt& out) {
  if (!chat.options.tools.empty()) {
    const std::string tools = python_json(chat.options.tools, style.compact_tools);
    if (tools != "[]") whole_message(kSystem, "tool_declare", tools, out);
  }
  if (chat.messages[0].role != "system") {
    whole_message(kSystem, "system", style.default_system, out);
  }
}

void tool_calls(const std::vector<ToolCall>& calls, ChatPrompt& out) {
  if (calls.empty()) return;
  out.marker(kCallsBegin);
  for (const ToolCall& call : calls) {
    out.marker(kCallBegin);
    out.text(call.id);
    out.marker(kArguments);
    out.text(call.arguments);
    out.marker(kCallEnd);
  }
  out.marker(kCallsEnd);
}

std::string body(const ChatMessage& m) {
  return m.role == "tool" ? "## Return of " + m.tool_call_id + "\n" + m.content : m.content;
}

void generation_prompt(const ChatConversation& chat, ChatPrompt& out) {
  if (chat.options.add_generation_prompt) heading(kAssistant, "assistant", out);
}

}  // namespace

/// Moonlight, and Kimi-K2 as first released: the role stands in every heading, and the id of a call
/// nowhere.
void render_moonlight(const ChatStyle& style, const ChatConversation& chat, ChatPrompt& out) {
  preamble(style, chat, out);
  for (const ChatMessage& m : chat.messages) {
    whole_message(marker_of(m), m.role, m.content, out);
  }
  generation_prompt(chat, out);
}

void render_kimi_k2(const ChatStyle& style, const ChatConversation& chat, ChatPrompt& out) {
  preamble(style, chat, out);
  for (const ChatMessage& m : chat.messages) {
    message_heading(m, out);
    out.text(body(m));
    tool_calls(m.tool_calls, out);
    out.marker(kEnd);
  }
  generation_prompt(chat, out);
}

/// Reasoning is kept after the last reply that called no tool: it still belongs to the question.
void render_kimi_k2_thinking(const ChatStyle& style, const ChatConversation& chat,
                             ChatPrompt& out) {
  preamble(style, chat, out);
  size_t kept_from = 0;
  for (size_t i = 0; i < chat.messages.size(); ++i) {
    const ChatMessage& m = chat.messages[i];
    if (m.role == "assistant" && m.tool_calls.empty()) kept_from = i + 1;
  }
  for (size_t i = 0; i < chat.messages.size(); ++i) {
    const ChatMessage& m = chat.messages[i];
    message_heading(m, out);
    if (m.role == "assistant") {
      out.marker("<think>");
      if (i >= kept_from) out.text(m.reasoning);
      out.marker("</think>");
    }
    out.text(body(m));
    tool_calls(m.tool_calls, out);
    out.marker(kEnd);
  }
  generation_prompt(chat, out);
}

}  // namespace fathom
