#include "text/chat_template.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"
#include "text/bpe_trainer.h"

namespace fathom {
namespace {

int32_t marker(const Tokenizer& tokenizer, std::string_view token) {
  if (const std::optional<int32_t> id = tokenizer.id_of(token)) return *id;
  throw Error(
      fmt::format("{}: no chat format: the tokenizer has no token {}", tokenizer.source(), token),
      fmt::format("Fathom writes DeepSeek-V3's format, which needs {} and {}", kUserToken,
                  kAssistantToken));
}

int32_t named(const Tokenizer& tokenizer, const char* field, int32_t id) {
  if (id >= 0) return id;
  throw Error(fmt::format("{}: no chat format: {} is not set", tokenizer.source(), field),
              "name it in tokenizer_config.json");
}

}  // namespace

/// A marker (id >= 0) or a stretch of plain text.
struct ChatTemplate::Part {
  int32_t id = -1;
  std::string text = {};
};

ChatTemplate::ChatTemplate(const Tokenizer& tokenizer)
    : tokenizer_(tokenizer),
      bos_(named(tokenizer, "bos_token", tokenizer.bos_id())),
      eos_(named(tokenizer, "eos_token", tokenizer.eos_id())),
      user_(marker(tokenizer, kUserToken)),
      assistant_(marker(tokenizer, kAssistantToken)) {}

std::vector<ChatTemplate::Part> ChatTemplate::parts(std::span<const ChatMessage> messages,
                                                    bool add_generation_prompt) const {
  if (messages.empty()) throw Error("a conversation without messages", "give at least one message");
  std::string system;
  std::vector<Part> turns;
  bool first_system = true;
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    if (role == "system") {
      if (!std::exchange(first_system, false)) system += "\n\n";
      system += content;
    } else if (role == "user") {
      turns.insert(turns.end(), {{user_}, {-1, content}});
    } else if (role == "assistant") {
      turns.insert(turns.end(), {{assistant_}, {-1, content}, {eos_}});
    } else {
      throw Error(fmt::format("messages[{}].role is \"{}\"", i, role),
                  "roles are system, user and assistant");
    }
  }
  std::vector<Part> all = {{bos_}, {-1, system}};
  all.insert(all.end(), turns.begin(), turns.end());
  if (add_generation_prompt) all.push_back({assistant_});
  return all;
}

std::vector<int32_t> ChatTemplate::encode(std::span<const ChatMessage> messages,
                                          bool add_generation_prompt) const {
  std::vector<int32_t> ids;
  for (const Part& part : parts(messages, add_generation_prompt)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
    } else {
      const std::vector<int32_t> text = tokenizer_.encode(part.text);
      ids.insert(ids.end(), text.begin(), text.end());
    }
  }
  return ids;
}

std::string ChatTemplate::render(std::span<const ChatMessage> messages,
                                 bool add_generation_prompt) const {
  std::string text;
  for (const Part& part : parts(messages, add_generation_prompt)) {
    text += part.id >= 0 ? tokenizer_.token_bytes(part.id) : std::string_view(part.text);
  }
  return text;
}

}  // namespace fathom
