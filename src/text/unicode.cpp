#include "text/unicode.h"

#include <algorithm>

namespace fathom {
namespace {

/// What a lead byte promises: the sequence's length (0: not a lead byte) and the range of its
/// second byte (Unicode standard, table 3-7).
struct Lead {
  uint32_t bytes;
  uint8_t low, high;
};

Lead lead_of(uint8_t b) {
  if (b < 0x80) return {1, 0, 0};
  if (b < 0xC2) return {0, 0, 0};
  if (b < 0xE0) return {2, 0x80, 0xBF};
  if (b < 0xF0) return {3, uint8_t(b == 0xE0 ? 0xA0 : 0x80), uint8_t(b == 0xED ? 0x9F : 0xBF)};
  if (b < 0xF5) return {4, uint8_t(b == 0xF0 ? 0x90 : 0x80), uint8_t(b == 0xF4 ? 0x8F : 0xBF)};
  return {0, 0, 0};
}

/// How many bytes at `at` agree with one UTF-8 sequence (at least 1), and whether it is complete.
struct Sequence {
  uint32_t bytes;
  bool complete;
};

Sequence sequence_at(std::string_view text, size_t at) {
  const Lead lead = lead_of(static_cast<uint8_t>(text[at]));
  if (lead.bytes == 0) return {1, false};
  for (uint32_t i = 1; i < lead.bytes; ++i) {
    if (at + i >= text.size()) return {i, false};
    const auto b = static_cast<uint8_t>(text[at + i]);
    const bool fits = i == 1 ? b >= lead.low && b <= lead.high : (b & 0xC0) == 0x80;
    if (!fits) return {i, false};
  }
  return {lead.bytes, true};
}

}  // namespace

DecodedCodePoint decode_code_point(std::string_view text, size_t at) {
  const Sequence sequence = sequence_at(text, at);
  if (!sequence.complete) return {kInvalidByte, 1};
  const auto lead = static_cast<uint8_t>(text[at]);
  if (sequence.bytes == 1) return {lead, 1};
  uint32_t value = lead & (0xFFu >> (sequence.bytes + 1));
  for (uint32_t i = 1; i < sequence.bytes; ++i) {
    value = value << 6 | (static_cast<uint8_t>(text[at + i]) & 0x3Fu);
  }
  return {value, sequence.bytes};
}

size_t previous_code_point(std::string_view text, size_t end) {
  // A valid sequence has its lead byte at most three bytes back; if none ends here exactly, the
  // last byte is invalid. A lead byte is never inside another sequence, so both ways agree.
  for (size_t back = 1; back <= 4 && back <= end; ++back) {
    const Sequence sequence = sequence_at(text, end - back);
    if (sequence.complete && sequence.bytes == back) return end - back;
  }
  return end - 1;
}

void append_utf8(std::string& out, uint32_t c) {
  const auto tail = [&](int shift) { out += static_cast<char>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    tail(0);
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Sequence sequence = sequence_at(text, at);
    out += sequence.complete ? text.substr(at, sequence.bytes) : "\xEF\xBF\xBD";
    at += sequence.bytes;
  }
  return out;
}

size_t incomplete_suffix(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const size_t at = text.size() - back;
    if (lead_of(static_cast<uint8_t>(text[at])).bytes == 0) continue;
    const Sequence sequence = sequence_at(text, at);
    return !sequence.complete && sequence.bytes == back ? back : 0;
  }
  return 0;
}

CodePointSet::CodePointSet(std::vector<CodePointRange> ranges) : ranges_(std::move(ranges)) {
  normalize();
}

void CodePointSet::normalize() {
  std::sort(ranges_.begin(), ranges_.end(), [](auto a, auto b) { return a.first < b.first; });
  size_t kept = 0;
  for (const CodePointRange& r : ranges_) {
    if (kept > 0 && r.first <= ranges_[kept - 1].last + 1) {
      ranges_[kept - 1].last = std::max(ranges_[kept - 1].last, r.last);
    } else {
      ranges_[kept++] = r;
    }
  }
  ranges_.resize(kept);
}

void CodePointSet::add(const CodePointSet& other) {
  ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
  normalize();
}

CodePointSet CodePointSet::complement() const {
  CodePointSet out;
  uint32_t next = 0;
  for (const CodePointRange& r : ranges_) {
    if (r.first > next) out.ranges_.push_back({next, r.first - 1});
    next = r.last + 1;
  }
  if (next <= kMaxCodePoint) out.ranges_.push_back({next, kMaxCodePoint});
  return out;
}

CodePointSet CodePointSet::intersection(const CodePointSet& other) const {
  CodePointSet either = complement();
  either.add(other.complement());
  return either.complement();
}

bool CodePointSet::contains(uint32_t c) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), c,
                                      [](uint32_t v, const auto& r) { return v < r.first; });
  return after != ranges_.begin() && c <= std::prev(after)->last;
}

std::optional<CodePointSet> category_set(std::string_view name) {
  if (name.empty() || name.size() > 2) return std::nullopt;
  std::vector<CodePointRange> ranges;
  bool known = false;
  for (std::string_view category : kCategoryNames) known |= category.starts_with(name);
  for (size_t i = 0; i < kCategoryRuns.size(); ++i) {
    if (!kCategoryNames[kCategoryRuns[i] & 0xFF].starts_with(name)) continue;
    const bool last = i + 1 == kCategoryRuns.size();
    ranges.push_back(
        {kCategoryRuns[i] >> 8, last ? kMaxCodePoint : (kCategoryRuns[i + 1] >> 8) - 1});
  }
  if (!known) return std::nullopt;
  return CodePointSet(std::move(ranges));
}

std::optional<CodePointSet> property_set(std::string_view name) {
  if (name == "Han") return CodePointSet({kHanRanges.begin(), kHanRanges.end()});
  return category_set(name);
}

const CodePointSet& white_space_set() {
  static const CodePointSet set({kWhiteRanges.begin(), kWhiteRanges.end()});
  return set;
}

const CodePointSet& word_set() {
  static const CodePointSet set({kWordRanges.begin(), kWordRanges.end()});
  return set;
}

}  // namespace fathom
