#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom {

/// A token that is found in text as a whole, before pre-tokenization: an entry of tokenizer.json's
/// added_tokens.
struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;                 ///< left out by decode when special tokens are skipped
  bool normalized = false;              ///< looked for after the others, in what they left
  bool single_word = false;             ///< only where no word character touches it
  bool lstrip = false, rstrip = false;  ///< takes the white space on its left / right along
};

/// A stretch of text: an added token (id >= 0), or text between them (id -1).
struct TextSegment {
  std::string_view text;
  int32_t id = -1;
};

/// Finds added tokens in text: leftmost first, the longest of those that begin together.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  explicit AddedTokenMatcher(const std::vector<AddedToken>& tokens);

  /// The segments of text in order; none is empty.
  std::vector<TextSegment> split(std::string_view text) const;
  /// Whether no added token can reach across text[at], so that both sides may be split alone.
  bool may_cut(std::string_view text, size_t at) const;

 private:
  struct Node {
    std::vector<std::pair<char, uint32_t>> children;
    int32_t token = -1;  ///< index into tokens_
  };
  struct Trie {
    std::vector<Node> nodes = {Node()};
    std::array<bool, 256> begins{};  ///< by byte: some token begins with it
    void add(std::string_view content, int32_t token);
    /// The longest token at text[at], or -1.
    int32_t longest(std::string_view text, size_t at) const;
    const Node* child(const Node& node, char c) const;
  };

  void split(const Trie& trie, std::string_view text, std::vector<TextSegment>& out) const;
  bool stands_alone(std::string_view text, size_t begin, size_t end) const;

  std::vector<AddedToken> tokens_;
  Trie first_, second_;       ///< not normalized, normalized
  size_t max_bytes_ = 0;      ///< of any token
  bool context_free_ = true;  ///< no token has single_word, lstrip or rstrip
};

}  // namespace fathom
