#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/tensor.h"
#include "kernels/latent_cache.h"

namespace fathom {

/// Tokens of a page.
inline constexpr int64_t kPageTokens = kernels::LatentCacheView::kPageRows;

/// What a page holds: kPageTokens rows of the first layer, then those of the next, ….
struct PageLayout {
  kernels::LatentRowLayout row;
  int64_t layers = 0;

  int64_t layer_bytes() const { return kPageTokens * row.row_bytes(); }
  int64_t bytes() const { return layers * layer_bytes(); }
};

/// Pages needed for so many tokens.
inline int64_t pages_for(int64_t tokens) {
  return (tokens + kPageTokens - 1) / kPageTokens;
}

/// The memory of the latent cache (spec A.2): a bounded number of pages with reference counts.
/// Memory is taken from the system page by page as it is first needed, and kept.
class PagePool {
 public:
  PagePool(PageLayout layout, int64_t capacity);
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  const PageLayout& layout() const { return layout_; }
  int64_t capacity() const { return capacity_; }
  int64_t in_use() const { return std::ssize(pages_) - std::ssize(free_); }
  int64_t available() const { return capacity_ - in_use(); }
  /// Held from the system.
  int64_t allocated_bytes() const { return std::ssize(pages_) * layout_.bytes(); }

  /// A page with one reference, its contents undefined; nothing when all are in use.
  std::optional<int32_t> take();
  void retain(int32_t page) { ++of(page).references; }
  void release(int32_t page);
  int64_t references(int32_t page) const { return pages_[static_cast<size_t>(page)].references; }
  std::byte* data(int32_t page) const;

 private:
  struct Page {
    Tensor memory;
    int64_t references = 0;
  };
  Page& of(int32_t page) { return pages_[static_cast<size_t>(page)]; }

  PageLayout layout_;
  int64_t capacity_;
  std::vector<Page> pages_;
  std::vector<int32_t> free_;  ///< allocated, not in use; the last is taken first
};

}  // namespace fathom
