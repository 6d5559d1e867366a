#include "infer/prefix_index.h"

namespace fathom {

size_t PrefixIndex::Hash::operator()(const Key& key) const {
  // FNV-1a over words: keys are compared in full, so that a collision costs time alone.
  uint64_t h = 14695981039346656037u;
  const auto mix = [&](uint64_t x) { h = (h ^ x) * 1099511628211u; };
  mix(static_cast<uint64_t>(key.parent));
  mix(static_cast<uint64_t>(key.form));
  for (const int32_t t : key.tokens) mix(static_cast<uint32_t>(t));
  return h;
}

PrefixIndex::~PrefixIndex() {
  for (const auto& [node, entry] : nodes_) pool_.release(entry.page);
}

std::optional<PrefixIndex::Node> PrefixIndex::find(Node parent, std::span<const int32_t> tokens,
                                                   TokenForm form) {
  const auto at = ids_.find({parent, form, {tokens.begin(), tokens.end()}});
  if (at == ids_.end()) return std::nullopt;
  nodes_.at(at->second).last_use = ++clock_;
  return at->second;
}

PrefixIndex::Node PrefixIndex::insert(Node parent, std::span<const int32_t> tokens, TokenForm form,
                                      int32_t page) {
  FATHOM_ASSERT(std::ssize(tokens) == kPageTokens);
  const auto [at, added] = ids_.try_emplace({parent, form, {tokens.begin(), tokens.end()}}, next_);
  if (!added) {
    nodes_.at(at->second).last_use = ++clock_;
    return at->second;
  }
  pool_.retain(page);
  if (parent != kRoot) ++nodes_.at(parent).followers;
  nodes_[next_] = {page, 0, 0, ++clock_, &at->first};
  return next_++;
}

bool PrefixIndex::evict() {
  auto oldest = nodes_.end();
  for (auto n = nodes_.begin(); n != nodes_.end(); ++n) {
    const Entry& e = n->second;
    if (e.followers > 0 || e.pins > 0 || pool_.references(e.page) > 1) continue;
    if (oldest == nodes_.end() || n->second.last_use < oldest->second.last_use) oldest = n;
  }
  if (oldest == nodes_.end()) return false;
  const Entry entry = oldest->second;
  if (entry.key->parent != kRoot) --nodes_.at(entry.key->parent).followers;
  pool_.release(entry.page);
  nodes_.erase(oldest);
  ids_.erase(*entry.key);
  return true;
}

int64_t PrefixIndex::evictable() const {
  int64_t count = 0;
  for (const auto& [node, entry] : nodes_) count += pool_.references(entry.page) == 1;
  return count;
}

}  // namespace fathom
