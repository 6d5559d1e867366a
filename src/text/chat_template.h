#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_format.h"
#include "text/tokenizer.h"

namespace fathom {

/// Turns conversations into prompts, exactly as the model's published Jinja template does. Contents
/// are encoded as plain text: nothing that a message says can end a turn or begin another.
///
/// An oddity of some templates is kept too: DeepSeek-V3's leaves out tool calls that stand beside
/// content. An assistant's empty content beside tool calls counts as none.
class ChatTemplate {
 public:
  /// Recognises the tokenizer's chat_template; or, with a name, takes that format (see
  /// chat_formats()). Throws Error when the template is unknown or absent, or the tokenizer lacks
  /// the format's markers. The tokenizer must outlive this.
  explicit ChatTemplate(const Tokenizer& tokenizer, std::string_view name = {});

  /// Throws Error for no message at all, a role that the format lacks, or something that its
  /// template has no place for.
  std::vector<int32_t> encode(std::span<const ChatMessage> messages,
                              const ChatOptions& options = {}) const;
  /// The same as text, for people to read.
  std::string render(std::span<const ChatMessage> messages, const ChatOptions& options = {}) const;

  const ChatFormat& format() const { return *format_; }
  /// The token that ends a reply.
  int32_t end_of_turn() const { return end_of_turn_; }
  /// Whether the prompt ends inside the model's reasoning, so that a reply begins there.
  bool opens_thinking(const ChatOptions& options) const;

 private:
  ChatPrompt prompt(std::span<const ChatMessage> messages, const ChatOptions& options) const;
  void check(std::span<const ChatMessage> messages, const ChatOptions& options) const;
  int32_t marker_id(const std::string& marker) const;

  const Tokenizer& tokenizer_;
  const ChatFormat* format_;
  ChatStyle style_;
  std::string bos_, eos_;
  int32_t end_of_turn_;
};

}  // namespace fathom
