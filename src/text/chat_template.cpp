#include "text/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "base/error.h"

namespace fathom {
namespace {

/// As the tokenizer may lack them and the templates name them all the same: the first DeepSeek
/// tokenizers spell these out.
bool may_be_text(std::string_view marker) {
  return marker == "<think>" || marker == "</think>";
}

std::string named_token(const Tokenizer& tokenizer, int32_t id) {
  return id < 0 ? std::string() : std::string(tokenizer.token_bytes(id));
}

bool has_role(std::string_view roles, std::string_view role) {
  for (size_t at = 0; at < roles.size();) {
    const size_t end = std::min(roles.find(' ', at), roles.size());
    if (roles.substr(at, end - at) == role) return true;
    at = end + 1;
  }
  return false;
}

}  // namespace

ChatTemplate::ChatTemplate(const Tokenizer& tokenizer, std::string_view name)
    : tokenizer_(tokenizer),
      bos_(named_token(tokenizer, tokenizer.bos_id())),
      eos_(named_token(tokenizer, tokenizer.eos_id())) {
  if (!name.empty()) {
    format_ = &chat_format_named(name);
    style_ = format_->style;
  } else if (tokenizer.chat_template().empty()) {
    throw Error(fmt::format("{}: no chat_template in tokenizer_config.json, nor a "
                            "chat_template.jinja",
                            tokenizer.source()),
                fmt::format("a base model has none and is not made for chat; to chat all the same, "
                            "choose one with --chat-template NAME: {}",
                            chat_format_names()));
  } else {
    std::tie(format_, style_) = detect_chat_format(tokenizer.chat_template(), tokenizer.source());
  }
  const ChatMessage probe[] = {{"user", "x"}, {"assistant", "y"}};
  encode(probe);  // a marker that the tokenizer lacks is said now
  end_of_turn_ = format_->end_of_turn.empty() ? tokenizer.eos_id()
                                              : tokenizer.require_id(format_->end_of_turn);
}

void ChatTemplate::check(std::span<const ChatMessage> messages, const ChatOptions& options) const {
  if (messages.empty()) throw Error("a conversation without messages", "give at least one message");
  const auto no_place = [&](const std::string& what, std::string hint) {
    throw Error(fmt::format("{}: the chat template of {} has no place for it", what, format_->name),
                std::move(hint));
  };
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& m = messages[i];
    if (!has_role(format_->roles, m.role)) {
      throw Error(fmt::format("messages[{}].role is \"{:.80}\"", i, m.role),
                  fmt::format("roles of {} are: {}", format_->name, format_->roles));
    }
    if (m.tool_calls.empty()) continue;
    const std::string place = fmt::format("messages[{}].tool_calls", i);
    if (m.role != "assistant") throw Error(place + ": only an assistant calls tools", "remove it");
    if (!format_->has_tool_calls) no_place(place, "describe the call in the content");
  }
  if (!options.tools.empty() && !format_->has_tool_definitions) {
    no_place("tools", "describe the tools in the system text, as the model's card says");
  }
  if (options.thinking && !format_->has_thinking_switch) {
    no_place("thinking", "leave the option out: this model thinks always or never");
  }
}

ChatPrompt ChatTemplate::prompt(std::span<const ChatMessage> messages,
                                const ChatOptions& options) const {
  check(messages, options);
  ChatPrompt prompt;
  format_->render(style_, {messages, options, bos_, eos_}, prompt);
  return prompt;
}

std::vector<int32_t> ChatTemplate::encode(std::span<const ChatMessage> messages,
                                          const ChatOptions& options) const {
  const ChatPrompt rendered = prompt(messages, options);
  ChatPrompt plain;  // the same, think tags that the tokenizer lacks being text
  for (const ChatPrompt::Part& part : rendered.parts()) {
    const bool as_text =
        !part.is_marker || (may_be_text(part.text) && !tokenizer_.id_of(part.text));
    as_text ? plain.text(part.text) : plain.marker(part.text);
  }
  std::vector<int32_t> ids;
  for (const ChatPrompt::Part& part : plain.parts()) {
    if (part.is_marker) {
      ids.push_back(marker_id(part.text));
    } else {
      const std::vector<int32_t> text = tokenizer_.encode(part.text);
      ids.insert(ids.end(), text.begin(), text.end());
    }
  }
  return ids;
}

int32_t ChatTemplate::marker_id(const std::string& marker) const {
  if (marker.empty()) {
    throw Error(
        fmt::format("{}: bos_token or eos_token is not set, and the chat template of {} needs "
                    "both",
                    tokenizer_.source(), format_->name),
        "name them in tokenizer_config.json");
  }
  if (const std::optional<int32_t> id = tokenizer_.id_of(marker)) return *id;
  throw Error(fmt::format("{}: the tokenizer has no token {}, which the chat template of {} needs",
                          tokenizer_.source(), marker, format_->name),
              "tokenizer and chat template must come from the same model");
}

std::string ChatTemplate::render(std::span<const ChatMessage> messages,
                                 const ChatOptions& options) const {
  return prompt(messages, options).str();
}

bool ChatTemplate::opens_thinking(const ChatOptions& options) const {
  return style_.opens_thinking ||
         (format_->has_thinking_switch && options.thinking.value_or(false));
}

}  // namespace fathom
