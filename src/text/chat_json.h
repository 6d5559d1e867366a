#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/chat_message.h"

namespace fathom {

/// A conversation as the OpenAI chat format writes it.
struct ChatJson {
  std::vector<ChatMessage> messages;
  std::string tools;  ///< JSON text, or empty
};

/// Reads {"messages": [..], "tools": [..]} or the list of messages alone. A content is a string,
/// null, or a list of {"type": "text"} parts, which are joined. Throws Error naming `source`, the
/// field, its value and what to do.
ChatJson parse_chat_json(std::string_view json, const std::string& source);

/// JSON text as Python's json.dumps writes it with ensure_ascii off, keys in the order given;
/// compact: without spaces. This is what a template's tojson gives.
std::string python_json(std::string_view json, bool compact);

}  // namespace fathom
