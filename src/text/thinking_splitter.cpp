#include "text/thinking_splitter.h"

#include <algorithm>
#include <utility>

namespace fathom {
namespace {

constexpr std::string_view kOpen = "<think>", kClose = "</think>";
constexpr std::string_view kWhite = " \t\r\n";

/// The length of the longest end of text that a tag may still grow from.
size_t begun_tag(std::string_view text, std::string_view tag) {
  size_t length = std::min(text.size(), tag.size() - 1);
  while (!tag.starts_with(text.substr(text.size() - length))) --length;
  return length;
}

void append(std::vector<ThinkingSplitter::Piece>& pieces, std::string text, bool is_reasoning) {
  if (!text.empty()) pieces.push_back({std::move(text), is_reasoning});
}

}  // namespace

/// Whether the beginning of the reply is decided: a <think>, or something else.
bool ThinkingSplitter::open() {
  const size_t begin = std::min(held_.find_first_not_of(kWhite), held_.size());
  const std::string_view rest = std::string_view(held_).substr(begin);
  if (rest.starts_with(kOpen)) {
    held_.erase(0, begin + kOpen.size());
    state_ = State::kReasoning;
  } else if (!kOpen.starts_with(rest)) {
    state_ = State::kContent;
  }
  return state_ != State::kStart;
}

void ThinkingSplitter::close(std::vector<Piece>& pieces) {
  const size_t at = held_.find(kClose);
  const bool closed = at != std::string::npos;
  const size_t ready = closed ? at : held_.size() - begun_tag(held_, kClose);
  append(pieces, held_.substr(0, ready), true);
  held_.erase(0, closed ? at + kClose.size() : ready);
  if (closed) state_ = State::kContent;
}

std::vector<ThinkingSplitter::Piece> ThinkingSplitter::add(std::string_view text) {
  std::vector<Piece> pieces;
  held_ += text;
  if (state_ == State::kStart && !open()) return pieces;
  if (state_ == State::kReasoning) close(pieces);
  if (state_ == State::kContent) append(pieces, std::exchange(held_, {}), false);
  return pieces;
}

std::vector<ThinkingSplitter::Piece> ThinkingSplitter::finish() {
  std::vector<Piece> pieces;
  append(pieces, std::exchange(held_, {}), state_ == State::kReasoning);
  return pieces;
}

}  // namespace fathom
