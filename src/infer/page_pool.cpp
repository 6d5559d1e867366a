#include "infer/page_pool.h"

namespace fathom {

PagePool::PagePool(PageLayout layout, int64_t capacity) : layout_(layout), capacity_(capacity) {
  FATHOM_ASSERT(capacity > 0 && layout.bytes() > 0);
}

std::optional<int32_t> PagePool::take() {
  if (free_.empty()) {
    if (std::ssize(pages_) == capacity_) return std::nullopt;
    pages_.push_back({Tensor(DType::kU8, {layout_.bytes()}), 0});
    free_.push_back(static_cast<int32_t>(pages_.size() - 1));
  }
  const int32_t page = free_.back();
  free_.pop_back();
  of(page).references = 1;
  return page;
}

void PagePool::release(int32_t page) {
  FATHOM_ASSERT(of(page).references > 0);
  if (--of(page).references == 0) free_.push_back(page);
}

std::byte* PagePool::data(int32_t page) const {
  return reinterpret_cast<std::byte*>(pages_[static_cast<size_t>(page)].memory.as<uint8_t>());
}

}  // namespace fathom
