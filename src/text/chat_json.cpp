#include "text/chat_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "text/json_field.h"

namespace fathom {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr const char* kHint = "messages are written as in the OpenAI chat format";

void append_python_json(const OrderedJson& value, bool compact, std::string& out) {
  if (!value.is_structured()) {
    out += value.dump();
    return;
  }
  const bool is_object = value.is_object();
  out += is_object ? '{' : '[';
  bool first = true;
  for (const auto& [key, item] : value.items()) {
    if (!first) out += compact ? "," : ", ";
    first = false;
    if (is_object) out += OrderedJson(key).dump() + (compact ? ":" : ": ");
    append_python_json(item, compact, out);
  }
  out += is_object ? '}' : ']';
}

/// parse_json forgets the order of keys but refuses what is nested deeply or named twice.
OrderedJson parse_ordered(std::string_view text, const std::string& source) {
  parse_json(text, source);
  return OrderedJson::parse(text);
}

std::string optional_string(const JsonField& field) {
  return field.is_null() ? std::string() : field.string();
}

std::string read_content(const JsonField& field) {
  if (!field.is_array()) return optional_string(field);
  std::string text;
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i].at("type").string() != "text") {
      field[i].at("type").fail(fmt::format("{} is not supported", field[i].at("type").shown()),
                               "only parts of type text are read");
    }
    text += field[i].at("text").string();
  }
  return text;
}

/// ordered: the same call with its keys in the order of the file.
ToolCall read_tool_call(const JsonField& field, const OrderedJson& ordered) {
  ToolCall call;
  call.id = optional_string(field.get("id"));
  const JsonField type = field.get("type");
  if (!type.is_null() && type.string() != "function") type.fail("only function is read", kHint);
  const JsonField function = field.at("function");
  call.name = function.at("name").string();
  const JsonField arguments = function.at("arguments");
  call.arguments = arguments.is_string()
                       ? arguments.string()
                       : python_json(ordered["function"]["arguments"].dump(), false);
  return call;
}

ChatMessage read_message(const JsonField& field, const OrderedJson& ordered) {
  field.only({"role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content",
              "reasoning", "refusal", "annotations", "audio"});
  ChatMessage message;
  message.role = field.at("role").string();
  message.content = read_content(field.get("content"));
  message.name = optional_string(field.get("name"));
  message.tool_call_id = optional_string(field.get("tool_call_id"));
  const char* reasoning = field.has("reasoning_content") ? "reasoning_content" : "reasoning";
  message.reasoning = optional_string(field.get(reasoning));
  const JsonField calls = field.get("tool_calls");
  if (calls.is_null()) return message;
  for (size_t i = 0; i < calls.array().size(); ++i) {
    message.tool_calls.push_back(read_tool_call(calls[i], ordered["tool_calls"][i]));
  }
  return message;
}

}  // namespace

std::string python_json(std::string_view json, bool compact) {
  std::string out;
  append_python_json(parse_ordered(json, "tools"), compact, out);
  return out;
}

ChatJson parse_chat_json(std::string_view json, const std::string& source) {
  const OrderedJson ordered = parse_ordered(json, source);
  const nlohmann::json document = parse_json(json, source);
  const JsonField root(document, source, "");
  const bool is_list = document.is_array();
  const JsonField messages = is_list ? root : root.at("messages");
  const OrderedJson& ordered_messages = is_list ? ordered : ordered["messages"];
  ChatJson chat;
  for (size_t i = 0; i < messages.array().size(); ++i) {
    chat.messages.push_back(read_message(messages[i], ordered_messages[i]));
  }
  if (is_list) return chat;
  root.only({"messages", "tools"});
  const JsonField tools = root.get("tools");
  if (!tools.is_null() && tools.array().size() > 0) chat.tools = ordered["tools"].dump();
  return chat;
}

}  // namespace fathom
