#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom {

/// Tells a reply's reasoning from its content while it is generated: what stands between a <think>
/// at its beginning (or the prompt's end) and the first </think>. The tags themselves are left out.
/// Where the pieces are cut does not matter: what may be the beginning of a tag is held back.
class ThinkingSplitter {
 public:
  struct Piece {
    std::string text;
    bool is_reasoning;
  };

  /// opens_thinking: the prompt has already said <think>.
  explicit ThinkingSplitter(bool opens_thinking)
      : state_(opens_thinking ? State::kReasoning : State::kStart) {}

  std::vector<Piece> add(std::string_view text);
  /// What is still held back, when no more text will come.
  std::vector<Piece> finish();

 private:
  enum class State { kStart, kReasoning, kContent };

  bool open();
  void close(std::vector<Piece>& pieces);

  State state_;
  std::string held_;
};

}  // namespace fathom
