#include "infer/sequence_cache.h"

#include <algorithm>
#include <utility>

namespace fathom {

SequenceCache::SequenceCache(SequenceCache&& other) noexcept
    : pool_(other.pool_),
      pages_(std::exchange(other.pages_, {})),
      data_(std::exchange(other.data_, {})),
      shared_(std::exchange(other.shared_, 0)),
      length_(std::exchange(other.length_, 0)) {}

SequenceCache& SequenceCache::operator=(SequenceCache&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(pages_, other.pages_);
  std::swap(data_, other.data_);
  std::swap(shared_, other.shared_);
  std::swap(length_, other.length_);
  return *this;
}

void SequenceCache::set_length(int64_t length) {
  FATHOM_ASSERT(length >= shared_ * kPageTokens && length <= room());
  length_ = length;
}

void SequenceCache::clear() {
  for (const int32_t page : pages_) pool_->release(page);
  pages_.clear();
  data_.clear();
  shared_ = length_ = 0;
}

void SequenceCache::share(int32_t page) {
  FATHOM_ASSERT(length_ == room() && shared_ == std::ssize(pages_));
  pool_->retain(page);
  pages_.push_back(page);
  data_.push_back(pool_->data(page));
  ++shared_;
  length_ += kPageTokens;
}

void SequenceCache::replace(int64_t i, int32_t page) {
  FATHOM_ASSERT((i + 1) * kPageTokens <= length_);
  const auto at = static_cast<size_t>(i);
  pool_->retain(page);
  pool_->release(pages_[at]);
  pages_[at] = page;
  data_[at] = pool_->data(page);
}

bool SequenceCache::reserve(int64_t tokens) {
  while (room() < tokens) {
    const std::optional<int32_t> page = pool_->take();
    if (!page) return false;
    pages_.push_back(*page);
    data_.push_back(pool_->data(*page));
  }
  return true;
}

kernels::LatentCacheView SequenceCache::view(int64_t layer, int64_t tokens) const {
  FATHOM_ASSERT(tokens <= room());
  const PageLayout& layout = pool_->layout();
  return {.layout = layout.row,
          .length = tokens,
          .rows = nullptr,
          .row_stride = 0,
          .pages = data_,
          .device = {},
          .page_offset = layer * layout.layer_bytes()};
}

void SequenceCache::write(Context& ctx, int64_t layer, int64_t begin, ConstTensorView latent_TC,
                          ConstTensorView k_rope_TR) {
  const PageLayout& layout = pool_->layout();
  const int64_t tokens = latent_TC.rows();
  FATHOM_ASSERT(begin >= shared_ * kPageTokens && begin + tokens <= room());
  for (int64_t t = 0, count; t < tokens; t += count) {
    const int64_t row = (begin + t) % kPageTokens;
    count = std::min(kPageTokens - row, tokens - t);
    std::byte* page = pool_->data(pages_[static_cast<size_t>((begin + t) / kPageTokens)]);
    kernels::append_latent_rows(ctx, latent_TC.row_range(t, count), k_rope_TR.row_range(t, count),
                                layout.row,
                                page + layer * layout.layer_bytes() + row * layout.row.row_bytes());
  }
}

}  // namespace fathom
