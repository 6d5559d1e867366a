#include "text/regex.h"

namespace fathom {

void Regex::Scratch::allow(size_t bytes) {
  const double quadratic = 4.0 * static_cast<double>(bytes) * static_cast<double>(bytes);
  steps = (int64_t{1} << 20) + static_cast<int64_t>(std::min(quadratic, 1e18));
}

inline Regex::Step Regex::step(std::string_view text, size_t at) const {
  if (at == text.size()) return {kEndClass, 0};
  const auto b = static_cast<uint8_t>(text[at]);
  if (b < 0x80) return {ascii_class_[b], 1};
  const DecodedCodePoint c = decode_code_point(text, at);
  return {class_of(c.value), c.bytes};
}

/// Past at most max code points of the mask.
inline size_t Regex::skip(std::string_view text, size_t at, uint64_t mask, uint32_t max) const {
  for (; max > 0; --max) {
    const Step s = step(text, at);
    if (!(mask >> s.cls & 1)) break;
    at += s.bytes;
  }
  return at;
}

/// The end of the match that begins at start, or npos.
size_t Regex::match(std::string_view text, size_t start, Scratch& scratch) const {
  std::vector<Frame>& stack = scratch.stack;
  stack.clear();
  uint32_t pc = 0;
  size_t pos = start;
  for (;;) {
    const Instruction& i = program_[pc];
    bool ok = true;
    switch (i.op) {
      case Op::kMatch:
        return pos;
      case Op::kJump:
        pc = i.target;
        break;
      case Op::kSet: {
        const Step s = step(text, pos);
        ok = i.mask >> s.cls & 1;
        pos += s.bytes;
        ++pc;
        break;
      }
      case Op::kRepeat: {
        const size_t begin = pos;
        size_t low = pos;
        for (uint32_t k = 0; k < i.min && ok; ++k) {
          const size_t next = skip(text, low, i.mask, 1);
          ok = next > low;
          low = next;
        }
        if (!ok) break;
        pos = skip(text, low, i.mask, i.max - i.min);
        ++pc;
        if (pos > low && pos > begin && !i.possessive && program_[pc].op != Op::kMatch) {
          stack.push_back({pc, low, previous_code_point(text, pos)});
        }
        break;
      }
      case Op::kLook:
        ok = i.mask >> step(text, pos).cls & 1;
        ++pc;
        break;
      case Op::kSplit: {
        const uint32_t cls = step(text, pos).cls;
        if (!(first_[i.target] >> cls & 1)) {
          pc = i.other;
        } else {
          if (first_[i.other] >> cls & 1) stack.push_back({i.other, pos, pos});
          pc = i.target;
        }
        break;
      }
    }
    if (ok) continue;
    if (stack.empty()) return std::string_view::npos;
    if (--scratch.steps < 0) {
      throw PatternError("a pre-tokenizer pattern backtracks without end on this text",
                         "rewrite the pattern without nested quantifiers");
    }
    Frame& top = stack.back();
    pc = top.pc;
    pos = top.pos;
    if (top.pos > top.low) {
      top.pos = previous_code_point(text, top.pos);
    } else {
      stack.pop_back();
    }
  }
}

bool Regex::find(std::string_view text, size_t from, Scratch& scratch, TextSpan& found) const {
  for (size_t at = from;;) {
    const Step s = step(text, at);
    if (first_[0] >> s.cls & 1) {
      const size_t end = match(text, at, scratch);
      if (end != std::string_view::npos) {
        found = {at, end};
        return true;
      }
    }
    if (at == text.size()) return false;
    at += s.bytes;
  }
}

bool Regex::may_span(uint32_t x, uint32_t y) const {
  return may_follow_[class_of(x)] >> class_of(y) & 1;
}

}  // namespace fathom
