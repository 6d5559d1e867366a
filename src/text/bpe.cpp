#include "text/bpe.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace fathom {
namespace {

/// Longer pieces use the heap: the linear search costs pieces * merges.
constexpr size_t kShortPiece = 96;

uint64_t mix(uint64_t x) {
  x *= 0x9E3779B97F4A7C15u;
  return x ^ x >> 32;
}

uint64_t pair_key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

}  // namespace

BpeCache::Entry& BpeCache::slot(std::string_view piece) {
  if (entries_.empty()) entries_.resize(kSlots);
  return entries_[XXH3_64bits(piece.data(), piece.size()) & (kSlots - 1)];
}

Bpe::Bpe(std::span<const int32_t, 256> byte_ids, std::span<const Merge> merges, MergeOrder order,
         TokenIds whole_pieces)
    : whole_pieces_(std::move(whole_pieces)), rules_(std::bit_ceil(merges.size() * 2 + 2)) {
  std::copy(byte_ids.begin(), byte_ids.end(), byte_ids_.begin());
  for (size_t i = 0; i < merges.size(); ++i) {
    const Merge& m = merges[i];
    const int32_t rank = order == MergeOrder::kByResult ? m.result : static_cast<int32_t>(i);
    const uint64_t pair = pair_key(m.left, m.right);
    size_t at = mix(pair) & (rules_.size() - 1);
    while (rules_[at].pair != kFree && rules_[at].pair != pair) at = (at + 1) & (rules_.size() - 1);
    rules_[at] = {pair, rank, m.result};
  }
}

Bpe::Rule Bpe::find(int32_t left, int32_t right) const {
  const uint64_t pair = pair_key(left, right);
  for (size_t at = mix(pair);; ++at) {
    const Rule& rule = rules_[at & (rules_.size() - 1)];
    if (rule.pair == pair) return rule;
    if (rule.pair == kFree) return {};
  }
}

void Bpe::load_symbols(std::string_view piece, std::vector<Symbol>& symbols) const {
  static constexpr uint8_t kReplacement[] = {0xEF, 0xBF, 0xBD};
  symbols.clear();
  const auto push = [&](int32_t id) { symbols.push_back({id, kNone, 0, 0}); };
  for (char c : piece) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    if (id >= 0) {
      push(id);
    } else {
      for (uint8_t b : kReplacement) push(byte_ids_[b]);
    }
  }
  const size_t n = symbols.size();
  for (size_t i = 0; i < n; ++i) {
    symbols[i].prev = static_cast<uint32_t>(i) - 1;
    symbols[i].next = static_cast<uint32_t>(i) + 1;
    if (i + 1 < n) symbols[i].rank = find(symbols[i].id, symbols[i + 1].id).rank;
  }
}

/// Keeps the symbols dense: removing one moves those after it.
void Bpe::merge_short(std::vector<Symbol>& symbols) const {
  const auto update = [&](size_t i) {
    const bool last = i + 1 == symbols.size();
    symbols[i].rank = last ? kNone : find(symbols[i].id, symbols[i + 1].id).rank;
  };
  while (symbols.size() > 1) {
    const auto lower = [](const Symbol& a, const Symbol& b) { return a.rank < b.rank; };
    const auto best = std::min_element(symbols.begin(), symbols.end(), lower);
    if (best->rank == kNone) return;
    best->id = find(best->id, (best + 1)->id).result;
    const auto at = static_cast<size_t>(best - symbols.begin());
    symbols.erase(best + 1);
    update(at);
    if (at > 0) update(at - 1);
  }
}

/// A linked list of symbols and a heap of (rank, position); entries that a later merge made stale
/// are skipped. O(n log n).
void Bpe::merge_long(Scratch& scratch) const {
  std::vector<Symbol>& s = scratch.symbols;
  auto& heap = scratch.heap;
  const auto n = static_cast<uint32_t>(s.size());
  heap.clear();
  for (uint32_t i = 0; i + 1 < n; ++i) {
    if (s[i].rank != kNone) heap.emplace_back(s[i].rank, i);
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto update = [&](uint32_t i) {
    s[i].rank = s[i].next < n ? find(s[i].id, s[s[i].next].id).rank : kNone;
    if (s[i].rank == kNone) return;
    heap.emplace_back(s[i].rank, i);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto [rank, i] = heap.back();
    heap.pop_back();
    if (s[i].rank != rank) continue;
    const uint32_t right = s[i].next;
    s[i].id = find(s[i].id, s[right].id).result;
    s[right].rank = kNone;
    s[i].next = s[right].next;
    if (s[i].next < n) s[s[i].next].prev = i;
    update(i);
    if (i > 0) update(s[i].prev);
  }
  uint32_t kept = 0;
  for (uint32_t i = 0; i < n; i = s[i].next) s[kept++].id = s[i].id;
  s.resize(kept);
}

void Bpe::merge(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (const auto whole = whole_pieces_.find(piece); whole != whole_pieces_.end()) {
    return ids.push_back(whole->second);
  }
  load_symbols(piece, scratch.symbols);
  if (scratch.symbols.size() <= kShortPiece) {
    merge_short(scratch.symbols);
  } else {
    merge_long(scratch);
  }
  for (const Symbol& s : scratch.symbols) ids.push_back(s.id);
}

void Bpe::encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (piece.size() == 1 && byte_ids_[static_cast<uint8_t>(piece[0])] >= 0) {
    ids.push_back(byte_ids_[static_cast<uint8_t>(piece[0])]);
    return;
  }
  if (piece.size() > BpeCache::kMaxBytes) return merge(piece, scratch, ids);
  BpeCache::Entry& entry = scratch.cache.slot(piece);
  if (entry.bytes == piece.size() && std::memcmp(entry.piece, piece.data(), piece.size()) == 0) {
    ids.insert(ids.end(), entry.ids, entry.ids + entry.tokens);
    return;
  }
  const size_t before = ids.size();
  merge(piece, scratch, ids);
  const size_t tokens = ids.size() - before;
  if (tokens > BpeCache::kMaxTokens) return;
  entry.bytes = static_cast<uint8_t>(piece.size());
  entry.tokens = static_cast<uint8_t>(tokens);
  std::memcpy(entry.piece, piece.data(), piece.size());
  std::copy(ids.begin() + static_cast<int64_t>(before), ids.end(), entry.ids);
}

}  // namespace fathom
