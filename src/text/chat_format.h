#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/chat_message.h"

namespace fathom {

/// A rendered conversation: markers, which become special tokens, and text, which never does.
class ChatPrompt {
 public:
  struct Part {
    std::string text;
    bool is_marker;
  };

  void marker(std::string_view token) { parts_.push_back({std::string(token), true}); }
  /// Neighbouring texts are one: a tokenizer sees no seam between them.
  void text(std::string_view plain);
  const std::vector<Part>& parts() const { return parts_; }
  std::string str() const;

 private:
  std::vector<Part> parts_;
};

/// In what the templates of one family differ; each field is read from the template's text.
struct ChatStyle {
  bool joins_system = false;      ///< system messages by blank lines; otherwise the last one counts
  bool strips_reasoning = false;  ///< of earlier turns: all up to </think>
  bool opens_thinking = false;    ///< the generation prompt ends in "<think>\n"
  bool calls_beside_content = false;  ///< tool calls are rendered where there is content too
  bool outputs_on_lines = false;      ///< a line break between tool results
  bool compact_tools = false;         ///< tool definitions without spaces
  std::string stray_blanks = {};      ///< that V2.5's template prints for each system message
  std::string default_system = {};    ///< where the conversation does not begin with one
};

struct ChatConversation {
  std::span<const ChatMessage> messages;
  const ChatOptions& options;
  std::string_view bos, eos;
};

/// A published template: how it is recognised, and the code that renders like it.
struct ChatFormat {
  std::string_view name;
  std::string_view models;  ///< that have it, for people
  /// Pieces of the template, white space and - signs of tags removed: all of `has`, none of
  /// `lacks`.
  std::vector<std::string_view> has = {}, lacks = {};
  std::string_view markers = {};      ///< all that the template may name, in one string
  std::string_view end_of_turn = {};  ///< the marker that ends a reply; empty: the tokenizer's eos
  std::string_view roles = {};        ///< separated by blanks
  bool has_tool_calls = true, has_tool_definitions = false, has_thinking_switch = false;
  ChatStyle style = {};  ///< when chosen by name
  void (*render)(const ChatStyle&, const ChatConversation&, ChatPrompt&) = nullptr;
};

std::span<const ChatFormat> chat_formats();
/// Their names with commas between.
std::string chat_format_names();

/// By name; throws Error naming all when there is no such format.
const ChatFormat& chat_format_named(std::string_view name);
/// The format of a Jinja template, and its style. Throws Error naming `source` when none fits or
/// the template names a marker that the format does not know.
std::pair<const ChatFormat*, ChatStyle> detect_chat_format(std::string_view jinja,
                                                           const std::string& source);

// chat_render_deepseek.cpp
void render_deepseek_v2(const ChatStyle&, const ChatConversation&, ChatPrompt&);
void render_deepseek_v3(const ChatStyle&, const ChatConversation&, ChatPrompt&);
void render_deepseek_v3_0324(const ChatStyle&, const ChatConversation&, ChatPrompt&);
void render_deepseek_v3_1(const ChatStyle&, const ChatConversation&, ChatPrompt&);
// chat_render_kimi.cpp
void render_moonlight(const ChatStyle&, const ChatConversation&, ChatPrompt&);
void render_kimi_k2(const ChatStyle&, const ChatConversation&, ChatPrompt&);
void render_kimi_k2_thinking(const ChatStyle&, const ChatConversation&, ChatPrompt&);

}  // namespace fathom
