#pragma once

#include <string>
#include <string_view>

#include "text/stream_decoder.h"
#include "text/thinking_splitter.h"

namespace fathom::app {

/// Shows a reply while it is generated: valid UTF-8 only, reasoning dimmed on a terminal and
/// between <think> tags elsewhere.
class ReplyView {
 public:
  explicit ReplyView(bool opens_thinking);

  void add(std::string_view bytes);
  /// After the last byte; ends the line.
  void finish();

  const std::string& content() const { return content_; }
  const std::string& reasoning() const { return reasoning_; }

 private:
  void show(const std::vector<ThinkingSplitter::Piece>& pieces);
  void switch_to(bool reasoning);

  bool colour_;
  bool in_reasoning_ = false;
  Utf8Stream utf8_;
  ThinkingSplitter splitter_;
  std::string content_, reasoning_;
};

}  // namespace fathom::app
