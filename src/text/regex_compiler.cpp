#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "text/regex.h"

namespace fathom {
namespace {

constexpr size_t kMaxProgram = 20000;

[[noreturn]] void too_complex() {
  throw PatternError("a pattern too large to compile", "simplify the tokenizer's Split patterns");
}

}  // namespace

class Regex::Compiler {
 public:
  Compiler(Regex& regex, const RegexNode& pattern) : regex_(regex), program_(regex.program_) {
    collect(pattern);
    build_classes();
    emit(pattern);
    add({.op = Op::kMatch});
    first_.resize(program_.size());
    for (uint32_t pc = 0; pc < program_.size(); ++pc) regex.first_.push_back(first(pc));
  }

 private:
  using Kind = RegexNode::Kind;

  void collect(const RegexNode& node) {
    if (node.kind == Kind::kSet || node.kind == Kind::kLook) sets_.push_back(&node.set);
    for (const RegexNode& child : node.children) collect(child);
  }

  /// Two code points share a class when every set holds both or neither.
  void build_classes() {
    std::vector<uint32_t> starts = {0};
    for (const CodePointSet* set : sets_) {
      for (const CodePointRange& r : set->ranges()) {
        starts.push_back(r.first);
        if (r.last < kMaxCodePoint) starts.push_back(r.last + 1);
      }
    }
    std::sort(starts.begin(), starts.end());
    starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
    std::vector<uint8_t> classes(kMaxCodePoint + 1);
    std::map<std::vector<bool>, uint8_t> known;
    for (size_t i = 0; i < starts.size(); ++i) {
      std::vector<bool> held;
      for (const CodePointSet* set : sets_) held.push_back(set->contains(starts[i]));
      const uint8_t cls = known.try_emplace(held, static_cast<uint8_t>(known.size())).first->second;
      if (cls >= kEndClass) too_complex();
      const uint32_t end = i + 1 < starts.size() ? starts[i + 1] : kMaxCodePoint + 1;
      std::fill(classes.begin() + starts[i], classes.begin() + end, cls);
    }
    for (const auto& [held, cls] : known) {
      for (size_t s = 0; s < sets_.size(); ++s) {
        if (held[s]) mask_[sets_[s]] |= uint64_t{1} << cls;
      }
    }
    store_classes(classes);
  }

  void store_classes(const std::vector<uint8_t>& classes) {
    std::copy_n(classes.begin(), 128, regex_.ascii_class_.begin());
    std::map<std::string, uint16_t> known;
    for (size_t at = 0; at < classes.size(); at += 256) {
      const std::string block(classes.begin() + at, classes.begin() + at + 256);
      const auto [entry, fresh] = known.try_emplace(block, static_cast<uint16_t>(known.size()));
      if (fresh) regex_.blocks_.insert(regex_.blocks_.end(), block.begin(), block.end());
      regex_.page_.push_back(entry->second);
    }
  }

  uint32_t pc() const { return static_cast<uint32_t>(program_.size()); }
  uint32_t add(const Instruction& instruction) {
    if (program_.size() >= kMaxProgram) too_complex();
    program_.push_back(instruction);
    return pc() - 1;
  }

  void emit(const RegexNode& node) {
    switch (node.kind) {
      case Kind::kSequence:
        for (const RegexNode& child : node.children) emit(child);
        break;
      case Kind::kAlternatives:
        return emit_alternatives(node);
      case Kind::kRepeat:
        return emit_repeat(node);
      case Kind::kSet:
        add({.op = Op::kSet, .mask = mask_[&node.set]});
        break;
      case Kind::kLook: {
        const uint64_t end = uint64_t{node.at_end} << kEndClass;
        const uint64_t mask = mask_[&node.set] | end;
        add({.op = Op::kLook, .mask = node.negated ? ~mask : mask});
      }
    }
  }

  void emit_alternatives(const RegexNode& node) {
    std::vector<uint32_t> jumps;
    for (size_t i = 0; i + 1 < node.children.size(); ++i) {
      const uint32_t split = add({.op = Op::kSplit});
      program_[split].target = pc();
      emit(node.children[i]);
      jumps.push_back(add({.op = Op::kJump}));
      program_[split].other = pc();
    }
    emit(node.children.back());
    for (uint32_t jump : jumps) program_[jump].target = pc();
  }

  void emit_repeat(const RegexNode& node) {
    const RegexNode& body = node.children[0];
    const bool lazy = node.mode == RegexNode::Mode::kLazy;
    if (body.kind == Kind::kSet && !lazy) {
      add({.op = Op::kRepeat,
           .possessive = node.mode == RegexNode::Mode::kPossessive,
           .min = node.min,
           .max = node.max,
           .mask = mask_[&body.set]});
      return;
    }
    if (nullable(body)) {
      throw PatternError("a pattern repeats a group that can match nothing",
                         "write the group so that it always consumes a character");
    }
    for (uint32_t i = 0; i < node.min; ++i) emit(body);
    if (node.max == RegexNode::kUnlimited) return emit_loop(body, lazy);
    std::vector<uint32_t> splits;
    for (uint32_t i = node.min; i < node.max; ++i) {
      splits.push_back(add({.op = Op::kSplit, .target = pc() + 1}));
      emit(body);
    }
    for (uint32_t split : splits) leave(split, lazy);
  }

  void emit_loop(const RegexNode& body, bool lazy) {
    const uint32_t split = add({.op = Op::kSplit, .target = pc() + 1});
    emit(body);
    add({.op = Op::kJump, .target = split});
    leave(split, lazy);
  }

  /// The split's way out leads here; a lazy one prefers it.
  void leave(uint32_t split, bool lazy) {
    program_[split].other = pc();
    if (lazy) std::swap(program_[split].target, program_[split].other);
  }

  static bool nullable(const RegexNode& node) {
    const auto& children = node.children;
    switch (node.kind) {
      case Kind::kSet:
        return false;
      case Kind::kLook:
        return true;
      case Kind::kRepeat:
        return node.min == 0 || nullable(children[0]);
      case Kind::kSequence:
        return std::all_of(children.begin(), children.end(), nullable);
      case Kind::kAlternatives:
        return std::any_of(children.begin(), children.end(), nullable);
    }
    return false;
  }

  /// No cycle without consuming exists (repeated groups are never empty), so this ends.
  uint64_t first(uint32_t pc) {
    if (first_[pc]) return *first_[pc];
    const Instruction& i = program_[pc];
    uint64_t mask = ~uint64_t{0};
    switch (i.op) {
      case Op::kSet:
        mask = i.mask;
        break;
      case Op::kRepeat:
        mask = i.mask | (i.min == 0 ? first(pc + 1) : 0);
        break;
      case Op::kLook:
        mask = i.mask & first(pc + 1);
        break;
      case Op::kSplit:
        mask = first(i.target) | first(i.other);
        break;
      case Op::kJump:
        mask = first(i.target);
        break;
      case Op::kMatch:
        break;
    }
    first_[pc] = mask;
    return mask;
  }

  Regex& regex_;
  std::vector<Instruction>& program_;
  std::vector<const CodePointSet*> sets_;
  std::map<const CodePointSet*, uint64_t> mask_;
  std::vector<std::optional<uint64_t>> first_;
};

Regex::Regex(const RegexNode& pattern) {
  Compiler(*this, pattern);
  analyse_cuts();
}

/// What can be reached from one place of the program without consuming text.
struct Regex::Reach {
  uint64_t consumes = 0;  ///< classes consumed next
  uint64_t alone = 0;     ///< classes of which one code point is a whole match, with no look
  bool accepts = false;   ///< the match's end, with no look between
  bool looks = false;     ///< a look
  bool operator==(const Reach&) const = default;
};

Regex::Reach Regex::reach(size_t pc, const std::vector<Reach>& known) const {
  const Instruction& i = program_[pc];
  if (i.op == Op::kMatch) return {.accepts = true};
  const bool jumps = i.op == Op::kJump || i.op == Op::kSplit;
  const Reach& next = known[jumps ? i.target : pc + 1];
  Reach r;
  if (i.op == Op::kSet || i.op == Op::kRepeat) {
    r.consumes = i.mask;
    if (i.min <= 1 && next.accepts) r.alone = i.mask;
    if (i.op == Op::kSet || i.min > 0) return r;
  }
  const Reach& other = i.op == Op::kSplit ? known[i.other] : next;
  r.consumes |= next.consumes | other.consumes;
  r.looks = i.op == Op::kLook || next.looks || other.looks;
  if (i.op == Op::kLook) return r;
  r.accepts = next.accepts || other.accepts;
  // An optional possessive step takes what it can: a class of its mask never gets past it.
  r.alone |= (next.alone | other.alone) & ~(i.possessive ? i.mask : 0);
  return r;
}

void Regex::analyse_cuts() {
  std::vector<Reach> known(program_.size());
  for (bool changed = true; changed;) {  // loops jump backwards: repeat until nothing changes
    changed = false;
    for (size_t pc = program_.size(); pc-- > 0;) {
      const Reach r = reach(pc, known);
      changed |= !(r == known[pc]);
      known[pc] = r;
    }
  }
  starts_match_ = known[0].alone;
  for (size_t pc = 0; pc < program_.size(); ++pc) {
    const Instruction& i = program_[pc];
    if (i.op != Op::kSet && i.op != Op::kRepeat) continue;
    const Reach& after = known[pc + 1];
    const uint64_t next = after.consumes | (i.op == Op::kRepeat && i.max > 1 ? i.mask : 0);
    for (uint32_t cls = 0; cls < kEndClass; ++cls) {
      if (i.mask >> cls & 1) may_follow_[cls] |= next;
    }
    if (after.looks) looks_past_ |= i.mask;
  }
}

}  // namespace fathom
