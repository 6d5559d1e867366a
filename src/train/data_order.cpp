#include "train/data_order.h"

#include "base/error.h"
#include "base/philox.h"

namespace fathom::train {
namespace {
constexpr uint64_t kRounds = 4;
}

Permutation::Permutation(int64_t size, uint64_t seed, uint64_t stream)
    : size_(size), seed_(seed), stream_(stream) {
  FATHOM_ASSERT(size >= 0);
  while (half_bits_ < 31 && (uint64_t{1} << (2 * half_bits_)) < static_cast<uint64_t>(size))
    ++half_bits_;
}

int64_t Permutation::operator()(int64_t index) const {
  FATHOM_ASSERT(index >= 0 && index < size_);
  uint64_t value = static_cast<uint64_t>(index);
  do {
    value = pass(value);
  } while (value >= static_cast<uint64_t>(size_));
  return static_cast<int64_t>(value);
}

uint64_t Permutation::pass(uint64_t value) const {
  const Philox random(seed_, stream_);
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = value >> half_bits_, right = value & mask;
  for (uint64_t round = 0; round < kRounds; ++round) {
    const uint64_t mixed = left ^ (random.block(right * kRounds + round)[0] & mask);
    left = right;
    right = mixed;
  }
  return (left << half_bits_) | right;
}

}  // namespace fathom::train
