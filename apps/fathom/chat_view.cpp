#include "chat_view.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace fathom::app {
namespace {

void put(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace

ReplyView::ReplyView(bool opens_thinking)
    : colour_(isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr),
      splitter_(opens_thinking) {}

void ReplyView::switch_to(bool reasoning) {
  if (reasoning == in_reasoning_) return;
  in_reasoning_ = reasoning;
  if (colour_) {
    put(reasoning ? "\x1b[2m" : "\x1b[0m");
  } else {
    put(reasoning ? "<think>" : "</think>");
  }
}

void ReplyView::show(const std::vector<ThinkingSplitter::Piece>& pieces) {
  for (const auto& [text, is_reasoning] : pieces) {
    switch_to(is_reasoning);
    put(text);
    (is_reasoning ? reasoning_ : content_) += text;
  }
  std::fflush(stdout);
}

void ReplyView::add(std::string_view bytes) {
  show(splitter_.add(utf8_.add(bytes)));
}

void ReplyView::finish() {
  show(splitter_.add(utf8_.finish()));
  show(splitter_.finish());
  switch_to(false);
  put("\n");
  std::fflush(stdout);
}

}  // namespace fathom::app
