#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "infer/page_pool.h"
#include "infer/token_form.h"

namespace fathom {

/// Full pages that sequences have read, found again by the tokens that they and all pages before
/// them hold and the forms in which these were read. Keeps one reference to each page.
class PrefixIndex {
 public:
  using Node = int64_t;
  static constexpr Node kRoot = 0;

  explicit PrefixIndex(PagePool& pool) : pool_(pool) {}
  ~PrefixIndex();
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  /// The page that follows `parent` with these tokens, read in this form.
  std::optional<Node> find(Node parent, std::span<const int32_t> tokens, TokenForm form);
  int32_t page(Node node) const { return nodes_.at(node).page; }
  /// Adds a page, or finds the one that already stands there.
  Node insert(Node parent, std::span<const int32_t> tokens, TokenForm form, int32_t page);

  /// A pinned node stays, with all before it. kRoot always does.
  void pin(Node node) {
    if (node != kRoot) ++nodes_.at(node).pins;
  }
  void unpin(Node node) {
    if (node != kRoot) --nodes_.at(node).pins;
  }

  /// Lets go of the page least recently found that no sequence uses or pins and that no other
  /// follows.
  /// False when there is none.
  bool evict();
  /// Pages that evict() could free, one after the other; at most so many.
  int64_t evictable() const;

 private:
  struct Key {
    Node parent;
    TokenForm form;
    std::vector<int32_t> tokens;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const;
  };
  struct Entry {
    int32_t page = 0;
    int64_t followers = 0, pins = 0;
    uint64_t last_use = 0;
    const Key* key = nullptr;
  };

  PagePool& pool_;
  std::unordered_map<Key, Node, Hash> ids_;
  std::unordered_map<Node, Entry> nodes_;
  Node next_ = kRoot + 1;
  uint64_t clock_ = 0;
};

}  // namespace fathom
