#pragma once

#include <cstdint>

namespace fathom::train {

/// What the data pipeline draws random numbers for, each from a Philox stream of its own.
enum class RandomUse : uint64_t { kHeldOut = 1, kFimChoice, kFimCut, kDocuments, kWindows };

inline uint64_t stream_of(RandomUse use, int64_t epoch = 0) {
  return (static_cast<uint64_t>(use) << 56) | static_cast<uint64_t>(epoch);
}

/// A random permutation of [0, size) that needs no memory: a Feistel network with Philox as its
/// round function on the next even number of bits, repeated while the result lies outside
/// (cycle walking: under four passes on average).
class Permutation {
 public:
  Permutation(int64_t size, uint64_t seed, uint64_t stream);

  int64_t size() const { return size_; }
  int64_t operator()(int64_t index) const;

 private:
  uint64_t pass(uint64_t value) const;

  int64_t size_;
  uint64_t seed_, stream_;
  int half_bits_ = 1;
};

}  // namespace fathom::train
