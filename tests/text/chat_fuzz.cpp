// libFuzzer target. The first byte says what the rest is: a Jinja template, to be recognised or
// refused with an Error; a conversation in JSON, rendered and encoded in every format, where its
// contents must not become markers; or a reply, whose reasoning must not depend on where it is cut.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include "base/error.h"
#include "text/chat_json.h"
#include "text/chat_template.h"
#include "text/thinking_splitter.h"

namespace {

using namespace fathom;

void require(bool ok) {
  if (!ok) std::abort();
}

/// The markers of both families after the 256 bytes: a tiktoken.model with 23 special tokens.
const Tokenizer& tokenizer() {
  static const Tokenizer made = [] {
    constexpr std::string_view digits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string lines;
    for (size_t b = 0; b < 256; ++b) {
      lines += {digits[b >> 2], digits[(b & 3) << 4], '=', '=', ' '};
      lines += std::to_string(b) + "\n";
    }
    std::string config = R"({"bos_token": "<bos>", "eos_token": "<｜end▁of▁sentence｜>",
                             "added_tokens_decoder": {"256": {"content": "<bos>"})";
    int id = 257;
    for (const ChatFormat& format : chat_formats()) {
      for (size_t at = 0; at < format.markers.size();) {
        const size_t end = format.markers.find('>', at) + 1;
        const std::string marker(format.markers.substr(at, end - at));
        at = end;
        if (config.find("\"" + marker + "\"}") != std::string::npos) continue;
        config += ", \"" + std::to_string(id++) + R"(": {"content": ")" + marker + "\"}";
      }
    }
    return Tokenizer::from_tiktoken(lines, "fuzz", config + "}}");
  }();
  return made;
}

void detect(std::string_view jinja) {
  try {
    detect_chat_format(jinja, "fuzz");
  } catch (const Error&) {
    return;
  }
}

/// How often each marker stands in the prompt.
std::map<int32_t, int> markers(const ChatTemplate& chat, std::span<const ChatMessage> messages) {
  std::map<int32_t, int> counts;
  for (int32_t id : chat.encode(messages)) counts[id] += id >= 256;
  for (int32_t id = 0; id < 256; ++id) counts.erase(id);
  return counts;
}

/// The same conversation without a < anywhere has the same markers.
void encode(std::string_view json) {
  try {
    const ChatJson conversation = parse_chat_json(json, "fuzz");
    if (!conversation.tools.empty()) python_json(conversation.tools, true);
    std::vector<ChatMessage> plain = conversation.messages;
    for (ChatMessage& m : plain) {
      for (std::string* text : {&m.content, &m.name, &m.reasoning, &m.tool_call_id}) {
        // </think> is what the templates themselves look for: it is left as it is.
        if (text->find("</think>") == std::string::npos)
          std::replace(text->begin(), text->end(), '<', '(');
      }
    }
    for (const ChatFormat& format : chat_formats()) {
      const ChatTemplate chat(tokenizer(), format.name);
      try {
        require(markers(chat, conversation.messages) == markers(chat, plain));
      } catch (const Error&) {
        continue;
      }
    }
  } catch (const Error&) {
    return;
  }
}

std::string split(std::string_view text, size_t step) {
  ThinkingSplitter splitter(text.size() % 2 == 0);
  std::string reasoning, content;
  const auto take = [&](const std::vector<ThinkingSplitter::Piece>& pieces) {
    for (const auto& piece : pieces) (piece.is_reasoning ? reasoning : content) += piece.text;
  };
  for (size_t at = 0; at < text.size(); at += step) take(splitter.add(text.substr(at, step)));
  take(splitter.finish());
  return reasoning + '\0' + content;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 'j') {
    detect(rest);
  } else if (data[0] == 'm') {
    encode(rest);
  } else {
    require(split(rest, 1) == split(rest, 1000) && split(rest, 3) == split(rest, 1000));
  }
  return 0;
}
