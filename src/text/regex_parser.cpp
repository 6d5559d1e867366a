#include "text/regex_parser.h"

#include <fmt/format.h>

namespace fathom {
namespace {

using Kind = RegexNode::Kind;

constexpr int kMaxNesting = 50;
constexpr uint32_t kMaxCount = 1000;  ///< of {n,m}

RegexNode set_node(CodePointSet set) {
  RegexNode node;
  node.kind = Kind::kSet;
  node.set = std::move(set);
  return node;
}

RegexNode look_node(CodePointSet set, bool negated, bool at_end) {
  RegexNode node = set_node(std::move(set));
  node.kind = Kind::kLook;
  node.negated = negated;
  node.at_end = at_end;
  return node;
}

CodePointSet single(uint32_t c) {
  return CodePointSet({{c, c}});
}

class Parser {
 public:
  explicit Parser(std::string_view pattern) : pattern_(pattern) {}

  RegexNode parse() {
    RegexNode node = alternatives(0);
    if (!at_end()) fail("unmatched )");
    return node;
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    throw PatternError(fmt::format("pattern \"{}\", offset {}: {}", pattern_, at_, what),
                       "Fathom reads the regular expressions of DeepSeek's tokenizers: classes, "
                       "categories, groups, quantifiers and single-character look-ahead");
  }

  bool at_end() const { return at_ == pattern_.size(); }
  bool looking_at(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
  bool take(std::string_view text) {
    if (!looking_at(text)) return false;
    at_ += text.size();
    return true;
  }
  uint32_t take_code_point() {
    if (at_end()) fail("the pattern ends too early");
    const DecodedCodePoint c = decode_code_point(pattern_, at_);
    at_ += c.bytes;
    return c.value;
  }

  RegexNode alternatives(int depth) {
    if (depth > kMaxNesting) fail("groups nested too deeply");
    RegexNode node = sequence(depth);
    if (!looking_at("|")) return node;
    RegexNode either;
    either.kind = Kind::kAlternatives;
    either.children.push_back(std::move(node));
    while (take("|")) either.children.push_back(sequence(depth));
    return either;
  }

  RegexNode sequence(int depth) {
    RegexNode node;
    while (!at_end() && !looking_at("|") && !looking_at(")")) {
      node.children.push_back(quantified(atom(depth)));
    }
    return node;
  }

  RegexNode quantified(RegexNode body) {
    RegexNode repeat;
    repeat.kind = Kind::kRepeat;
    if (take("?")) {
      repeat.min = 0;
    } else if (take("*")) {
      repeat.min = 0, repeat.max = RegexNode::kUnlimited;
    } else if (take("+")) {
      repeat.max = RegexNode::kUnlimited;
    } else if (take("{")) {
      interval(repeat);
      if (looking_at("+")) fail("{n,m}+ is not supported");
    } else {
      return body;
    }
    if (body.kind == Kind::kLook) fail("a quantifier after a look-ahead is not supported");
    if (take("+")) repeat.mode = RegexNode::Mode::kPossessive;
    if (repeat.mode == RegexNode::Mode::kGreedy && take("?")) repeat.mode = RegexNode::Mode::kLazy;
    if (repeat.mode == RegexNode::Mode::kPossessive && body.kind != Kind::kSet) {
      fail("a possessive quantifier after a group is not supported");
    }
    if (looking_at("?") || looking_at("*") || looking_at("+") || looking_at("{")) {
      fail("two quantifiers in a row");
    }
    repeat.children.push_back(std::move(body));
    return repeat;
  }

  uint32_t count() {
    uint32_t value = 0;
    while (!at_end() && pattern_[at_] >= '0' && pattern_[at_] <= '9') {
      value = value * 10 + static_cast<uint32_t>(pattern_[at_++] - '0');
      if (value > kMaxCount) fail("a count above 1000");
    }
    return value;
  }

  void interval(RegexNode& repeat) {
    const size_t start = at_;
    repeat.min = repeat.max = count();
    const bool has_min = at_ > start;
    const bool has_comma = take(",");
    if (has_comma) {
      const size_t second = at_;
      repeat.max = count();
      if (at_ == second) repeat.max = RegexNode::kUnlimited;
    }
    if (!take("}") || (!has_min && !has_comma)) fail("expected {n}, {n,} or {n,m}");
    if (repeat.min > repeat.max) fail("a minimum above the maximum");
    if (repeat.max == 0) fail("a count of zero");
  }

  RegexNode atom(int depth) {
    if (take("(")) return group(depth);
    if (take("[")) return set_node(char_class(depth));
    if (take(".")) return set_node(single('\n').complement());
    if (take("$")) return look_node(single('\n'), false, true);
    if (take("\\z")) return look_node({}, false, true);
    if (take("\\")) {
      if (ignore_case_) fail("an escape within (?i:..) is not supported");
      return set_node(escape());
    }
    if (looking_at("^")) fail("^ is not supported");
    if (looking_at("*") || looking_at("+") || looking_at("?") || looking_at("{")) {
      fail("a quantifier with nothing to repeat");
    }
    const uint32_t c = take_code_point();
    return set_node(ignore_case_ ? both_cases(c) : single(c));
  }

  /// Simple case folding of the ASCII letters, two of which have a partner beyond ASCII.
  CodePointSet both_cases(uint32_t c) const {
    if (c >= 0x80) fail("a letter beyond ASCII within (?i:..) is not supported");
    const uint32_t lower = c | 0x20;
    if (lower < 'a' || lower > 'z') return single(c);
    CodePointSet set({{lower, lower}, {lower - 0x20, lower - 0x20}});
    if (lower == 's') set.add(single(0x17F));   // long s
    if (lower == 'k') set.add(single(0x212A));  // Kelvin sign
    return set;
  }

  RegexNode group(int depth) {
    const bool positive = take("?="), negative = !positive && take("?!");
    const bool look = positive || negative;
    const bool outer_case = ignore_case_;
    if (!look && take("?i:")) {
      ignore_case_ = true;
    } else if (!look && !take("?:") && looking_at("?")) {
      fail("this kind of group is not supported");
    }
    RegexNode body = alternatives(depth + 1);
    ignore_case_ = outer_case;
    if (!take(")")) fail("missing )");
    if (!look) return body;
    while (body.kind == Kind::kSequence && body.children.size() == 1) {
      RegexNode inner = std::move(body.children[0]);
      body = std::move(inner);
    }
    if (body.kind != Kind::kSet) fail("look-ahead of more than one code point is not supported");
    return look_node(std::move(body.set), negative, false);
  }

  CodePointSet char_class(int depth) {
    if (depth > kMaxNesting) fail("classes nested too deeply");
    if (ignore_case_) fail("a class within (?i:..) is not supported");
    const bool negated = take("^");
    CodePointSet set = class_items(depth);
    while (take("&&")) set = set.intersection(class_items(depth));
    at_ += 1;
    return negated ? set.complement() : set;
  }

  /// The union of the items up to ] or &&.
  CodePointSet class_items(int depth) {
    CodePointSet set;
    bool empty = true;
    for (; !looking_at("]") && !looking_at("&&"); empty = false) {
      if (take("[")) {
        set.add(char_class(depth + 1));
      } else {
        class_item(set);
      }
    }
    if (empty) fail("an empty class");
    return set;
  }

  void class_item(CodePointSet& set) {
    CodePointSet item = take("\\") ? escape() : single(take_code_point());
    const bool is_range = looking_at("-") && !looking_at("-]");
    if (is_range) {
      at_ += 1;
      const CodePointSet end = take("\\") ? escape() : single(take_code_point());
      item = range(item, end);
    }
    set.add(item);
  }

  CodePointSet range(const CodePointSet& begin, const CodePointSet& end) {
    const auto one = [](const CodePointSet& s) {
      return s.ranges().size() == 1 && s.ranges()[0].first == s.ranges()[0].last;
    };
    if (!one(begin) || !one(end)) fail("a range between classes");
    const uint32_t first = begin.ranges()[0].first, last = end.ranges()[0].first;
    if (first > last) fail("a range that runs backwards");
    return CodePointSet({{first, last}});
  }

  /// After the backslash.
  CodePointSet escape() {
    const uint32_t c = take_code_point();
    switch (c) {
      case 'n':
        return single('\n');
      case 'r':
        return single('\r');
      case 't':
        return single('\t');
      case 'f':
        return single('\f');
      case 'v':
        return single('\v');
      case 's':
        return white_space_set();
      case 'S':
        return white_space_set().complement();
      case 'w':
        return word_set();
      case 'W':
        return word_set().complement();
      case 'd':
        return *category_set("Nd");
      case 'D':
        return category_set("Nd")->complement();
      case 'x':
        return single(take("{") ? hex(1, 8, "}") : hex(1, 2, ""));
      case 'u':
        return single(hex(4, 4, ""));
      case 'p':
        return property(false);
      case 'P':
        return property(true);
    }
    const bool alphanumeric = c < 0x80 && word_set().contains(c) && c != '_';
    if (alphanumeric) fail(fmt::format("\\{} is not supported", static_cast<char>(c)));
    return single(c);
  }

  uint32_t hex(size_t min_digits, size_t max_digits, std::string_view close) {
    uint64_t value = 0;
    size_t digits = 0;
    for (; digits < max_digits && !at_end() && std::isxdigit(static_cast<uint8_t>(pattern_[at_]));
         ++digits, ++at_) {
      const char c = static_cast<char>(pattern_[at_] | 0x20);
      value = value * 16 + static_cast<uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (digits < min_digits || !take(close)) fail("a malformed hexadecimal escape");
    if (value > kMaxCodePoint) fail("a code point above U+10FFFF");
    return static_cast<uint32_t>(value);
  }

  CodePointSet property(bool negated) {
    if (!take("{")) fail("expected {");
    if (take("^")) negated = !negated;
    const size_t close = pattern_.find('}', at_);
    if (close == std::string_view::npos) fail("missing }");
    const std::string_view name = pattern_.substr(at_, close - at_);
    const std::optional<CodePointSet> set = property_set(name);
    if (!set) fail(fmt::format("\\p{{{}}} is not a general category (L, Lu, N, …) or Han", name));
    at_ = close + 1;
    return negated ? set->complement() : *set;
  }

  std::string_view pattern_;
  size_t at_ = 0;
  bool ignore_case_ = false;  ///< within (?i:..)
};

}  // namespace

RegexNode parse_regex(std::string_view pattern) {
  return Parser(pattern).parse();
}

RegexNode literal_regex(std::string_view text) {
  RegexNode node;
  for (size_t at = 0; at < text.size();) {
    const DecodedCodePoint c = decode_code_point(text, at);
    node.children.push_back(set_node(single(c.value)));
    at += c.bytes;
  }
  return node;
}

}  // namespace fathom
