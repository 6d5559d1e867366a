#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace fathom {

struct ChatMessage {
  std::string role;  ///< system, user or assistant
  std::string content;
};

/// DeepSeek-V3's conversation format: the beginning-of-sentence token; the system messages, joined
/// by blank lines; then `<｜User｜>` + content and `<｜Assistant｜>` + content + end of sentence,
/// in order; and `<｜Assistant｜>` to ask for a reply. Markers are tokens, contents are encoded as
/// plain text: nothing that a message says can end a turn or begin another.
class ChatTemplate {
 public:
  /// Throws Error when the tokenizer lacks the markers. The tokenizer must outlive this.
  explicit ChatTemplate(const Tokenizer& tokenizer);

  /// Throws Error for a role other than system, user, assistant, or no message at all.
  std::vector<int32_t> encode(std::span<const ChatMessage> messages,
                              bool add_generation_prompt) const;
  /// The same as text, for people to read.
  std::string render(std::span<const ChatMessage> messages, bool add_generation_prompt) const;

 private:
  struct Part;
  std::vector<Part> parts(std::span<const ChatMessage> messages, bool add_generation_prompt) const;

  const Tokenizer& tokenizer_;
  int32_t bos_, eos_, user_, assistant_;
};

}  // namespace fathom
