#pragma once

#include <optional>
#include <string>
#include <vector>

namespace fathom {

/// A function call that the assistant asks for.
struct ToolCall {
  std::string name;
  std::string arguments;  ///< JSON text, rendered as it stands
  std::string id = {};    ///< Kimi-K2 renders it: functions.NAME:INDEX
};

struct ChatMessage {
  std::string role;  ///< system, user, assistant, or tool (the result of a call)
  std::string content = {};
  std::vector<ToolCall> tool_calls = {};  ///< of an assistant
  std::string tool_call_id = {};          ///< of a tool: the call it answers
  std::string name = {};                  ///< Kimi-K2 writes it in place of the role
  std::string reasoning = {};             ///< of an assistant, apart from the content
};

struct ChatOptions {
  bool add_generation_prompt = true;  ///< end where the assistant's reply begins
  /// For templates that have the choice (DeepSeek-V3.1); absent: their default, which is off.
  std::optional<bool> thinking = {};
  std::string tools = {};  ///< definitions for templates that render them: a JSON list, or empty
};

}  // namespace fathom
