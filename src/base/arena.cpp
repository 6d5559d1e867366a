#include "base/arena.h"

#include <algorithm>

namespace fathom {
namespace {
constexpr size_t kAlignment = 64;
constexpr size_t kMinBlock = size_t{4} << 20;
}  // namespace

Arena::~Arena() {
  for (const Block& b : blocks_) free_aligned(b.data);
}

TensorView Arena::alloc(DType dtype, std::initializer_list<int64_t> shape) {
  TensorView v(nullptr, dtype, shape);
  v.data = alloc_bytes(v.bytes());
  return v;
}

void* Arena::alloc_bytes(size_t bytes) {
  void* p = take(std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment));
  peak_ = std::max(peak_, used());
  return p;
}

void* Arena::take(size_t bytes) {
  const size_t before = used();
  while (position_.block < blocks_.size()) {
    Block& b = blocks_[position_.block];
    if (position_.offset == 0) b.begin = before;
    if (position_.offset + bytes <= b.size) {
      void* p = b.data + position_.offset;
      position_.offset += bytes;
      return p;
    }
    position_ = {position_.block + 1, 0};
  }
  // Doubling keeps the number of blocks, and so the space lost at their ends, small.
  const size_t last = blocks_.empty() ? kMinBlock / 2 : blocks_.back().size;
  const size_t size = std::max(bytes, 2 * last);
  blocks_.push_back({static_cast<std::byte*>(allocate_aligned(size)), size, before});
  position_ = {blocks_.size() - 1, bytes};
  return blocks_.back().data;
}

size_t Arena::used() const {
  return blocks_.empty() ? 0 : blocks_[position_.block].begin + position_.offset;
}

size_t Arena::capacity() const {
  size_t total = 0;
  for (const Block& b : blocks_) total += b.size;
  return total;
}

}  // namespace fathom
