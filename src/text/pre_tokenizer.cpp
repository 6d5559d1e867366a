#include "text/pre_tokenizer.h"

#include <algorithm>

namespace fathom {
namespace {

struct Part {
  TextSpan span;
  bool is_match;
};

/// The matches and gaps of one piece, in order. Matches may be empty, but not right after another.
template <class Emit>
void for_each_part(const SplitStep& step, std::string_view piece, Regex::Scratch& scratch,
                   Emit&& emit) {
  size_t previous = 0, from = 0;
  scratch.allow(piece.size());
  for (TextSpan m{}; from <= piece.size() && step.regex.find(piece, from, scratch, m);) {
    const bool empty = m.begin == m.end;
    if (m.begin > previous) emit(Part{{previous, m.begin}, step.invert});
    if (!empty || m.begin > previous || m.begin == 0) emit(Part{m, !step.invert});
    previous = m.end;
    from = m.end;
    if (empty) from += m.end < piece.size() ? decode_code_point(piece, m.end).bytes : 1;
  }
  if (previous < piece.size()) emit(Part{{previous, piece.size()}, step.invert});
}

/// Joins neighbours in place: each span extends the one before it where join says so.
template <class Join>
void merge(std::vector<Part>& parts, Join&& join) {
  size_t kept = 0;
  bool previous = false;
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool is_match = parts[i].is_match;
    if (kept > 0 && join(is_match, previous)) {
      parts[kept - 1].span = {std::min(parts[kept - 1].span.begin, parts[i].span.begin),
                              std::max(parts[kept - 1].span.end, parts[i].span.end)};
    } else {
      parts[kept++] = parts[i];
    }
    previous = is_match;
  }
  parts.resize(kept);
}

void merge(std::vector<Part>& parts, SplitBehavior behavior) {
  const auto attach = [](bool is_match, bool previous) { return is_match && !previous; };
  if (behavior == SplitBehavior::kMergedWithPrevious) merge(parts, attach);
  if (behavior == SplitBehavior::kMergedWithNext) {
    std::reverse(parts.begin(), parts.end());
    merge(parts, attach);
    std::reverse(parts.begin(), parts.end());
  }
  if (behavior == SplitBehavior::kContiguous) merge(parts, std::equal_to<>());
}

bool is_local(const SplitStep& step) {
  const bool alone =
      step.behavior == SplitBehavior::kIsolated || step.behavior == SplitBehavior::kRemoved;
  return alone && !step.regex.matches_empty();
}

}  // namespace

PreTokenizer::PreTokenizer(std::vector<SplitStep> steps)
    : steps_(std::move(steps)), cuttable_(std::all_of(steps_.begin(), steps_.end(), is_local)) {}

void PreTokenizer::apply(const SplitStep& step, std::string_view text, Scratch& scratch) const {
  scratch.next.clear();
  const bool simple =
      step.behavior == SplitBehavior::kIsolated || step.behavior == SplitBehavior::kRemoved;
  const bool drop = step.behavior == SplitBehavior::kRemoved;
  std::vector<Part> parts;
  for (const TextSpan piece : scratch.pieces) {
    const std::string_view bytes = text.substr(piece.begin, piece.end - piece.begin);
    const auto push = [&](const TextSpan& s) {
      if (s.begin == s.end) return;
      scratch.next.push_back({piece.begin + s.begin, piece.begin + s.end});
    };
    parts.clear();
    for_each_part(step, bytes, scratch.regex, [&](const Part& part) {
      if (!simple) return parts.push_back(part);
      if (!drop || !part.is_match) push(part.span);
    });
    if (simple) continue;
    merge(parts, step.behavior);
    for (const Part& part : parts) push(part.span);
  }
  std::swap(scratch.pieces, scratch.next);
}

const std::vector<TextSpan>& PreTokenizer::split(std::string_view text, Scratch& scratch) const {
  scratch.pieces.clear();
  if (!text.empty()) scratch.pieces.push_back({0, text.size()});
  for (const SplitStep& step : steps_) apply(step, text, scratch);
  return scratch.pieces;
}

bool PreTokenizer::may_cut(uint32_t x, uint32_t y) const {
  if (!cuttable_) return false;
  bool begins = false;
  for (const SplitStep& step : steps_) {
    if (step.regex.may_span(x, y) || step.regex.looks_past(x)) return false;
    begins |= step.regex.starts_match(y);
  }
  return begins;
}

size_t PreTokenizer::next_cut(std::string_view text, size_t from) const {
  if (!cuttable_ || steps_.empty()) return text.size();
  size_t at = std::max<size_t>(from, 1);
  while (at < text.size() && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) ++at;
  if (at >= text.size()) return text.size();
  uint32_t x = decode_code_point(text, previous_code_point(text, at)).value;
  while (at < text.size()) {
    const DecodedCodePoint y = decode_code_point(text, at);
    if (may_cut(x, y.value)) return at;
    x = y.value;
    at += y.bytes;
  }
  return text.size();
}

const std::vector<std::string>& deepseek_v3_patterns() {
  static const std::vector<std::string> patterns = {
      R"(\p{N}{1,3})", "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
      "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*"
      "|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"};
  return patterns;
}

PreTokenizer PreTokenizer::deepseek_v3() {
  std::vector<SplitStep> steps;
  for (const std::string& pattern : deepseek_v3_patterns()) {
    steps.push_back({Regex(parse_regex(pattern))});
  }
  return PreTokenizer(std::move(steps));
}

}  // namespace fathom
