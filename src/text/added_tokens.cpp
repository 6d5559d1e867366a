#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"

namespace fathom {

AddedTokenMatcher::AddedTokenMatcher(const std::vector<AddedToken>& tokens) : tokens_(tokens) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    (token.normalized ? second_ : first_).add(token.content, static_cast<int32_t>(i));
    max_bytes_ = std::max(max_bytes_, token.content.size());
    context_free_ &= !token.single_word && !token.lstrip && !token.rstrip;
  }
}

void AddedTokenMatcher::Trie::add(std::string_view content, int32_t token) {
  begins[static_cast<uint8_t>(content[0])] = true;
  uint32_t at = 0;
  for (char c : content) {
    const Node* next = child(nodes[at], c);
    if (next != nullptr) {
      at = static_cast<uint32_t>(next - nodes.data());
      continue;
    }
    nodes[at].children.emplace_back(c, static_cast<uint32_t>(nodes.size()));
    at = static_cast<uint32_t>(nodes.size());
    nodes.emplace_back();
  }
  nodes[at].token = token;
}

const AddedTokenMatcher::Node* AddedTokenMatcher::Trie::child(const Node& node, char c) const {
  for (const auto& [byte, next] : node.children) {
    if (byte == c) return &nodes[next];
  }
  return nullptr;
}

int32_t AddedTokenMatcher::Trie::longest(std::string_view text, size_t at) const {
  int32_t found = -1;
  for (const Node* node = nodes.data(); at < text.size(); ++at) {
    node = child(*node, text[at]);
    if (node == nullptr) break;
    if (node->token >= 0) found = node->token;
  }
  return found;
}

bool AddedTokenMatcher::stands_alone(std::string_view text, size_t begin, size_t end) const {
  const auto is_word = [&](size_t at) {
    return word_set().contains(decode_code_point(text, at).value);
  };
  const bool word_before = begin > 0 && is_word(previous_code_point(text, begin));
  return !word_before && (end == text.size() || !is_word(end));
}

void AddedTokenMatcher::split(const Trie& trie, std::string_view text,
                              std::vector<TextSegment>& out) const {
  const auto is_white = [&](size_t at) {
    return white_space_set().contains(decode_code_point(text, at).value);
  };
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const bool begins = trie.begins[static_cast<uint8_t>(text[at])];
    const int32_t index = begins ? trie.longest(text, at) : -1;
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    size_t begin = at, end = at + token.content.size();
    at = end;
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    if (token.lstrip) {
      while (begin > done && is_white(previous_code_point(text, begin))) {
        begin = previous_code_point(text, begin);
      }
    }
    if (token.rstrip) {
      while (end < text.size() && is_white(end)) end += decode_code_point(text, end).bytes;
    }
    if (begin > done) out.push_back({text.substr(done, begin - done)});
    out.push_back({text.substr(begin, end - begin), token.id});
    done = end;
    at = std::max(at, end);
  }
  if (done < text.size()) out.push_back({text.substr(done)});
}

std::vector<TextSegment> AddedTokenMatcher::split(std::string_view text) const {
  std::vector<TextSegment> outer, all;
  split(first_, text, outer);
  for (const TextSegment& segment : outer) {
    if (segment.id >= 0) {
      all.push_back(segment);
    } else {
      split(second_, segment.text, all);
    }
  }
  return all;
}

bool AddedTokenMatcher::may_cut(std::string_view text, size_t at) const {
  if (!context_free_) return false;
  const size_t reach = max_bytes_ > 0 ? max_bytes_ - 1 : 0;
  for (size_t begin = at - std::min(at, reach); begin < at; ++begin) {
    for (const Trie* trie : {&first_, &second_}) {
      const int32_t index = trie->longest(text, begin);
      if (index >= 0 && begin + tokens_[static_cast<size_t>(index)].content.size() > at) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace fathom
