#pragma once

#include <cstddef>
#include <initializer_list>
#include <vector>

#include "base/tensor.h"

namespace fathom {

/// Stack-like memory for temporaries and for what a layer keeps for its backward. Allocation moves
/// a pointer; memory is given back by rewinding to a mark (ArenaScope). Not thread-safe: the thread
/// that owns the Context allocates. Grows by whole blocks and keeps them, so that the second step
/// of a training run allocates nothing. Memory is NOT zeroed.
class Arena {
 public:
  struct Mark {
    size_t block = 0, offset = 0;
  };

  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  TensorView alloc(DType dtype, std::initializer_list<int64_t> shape);
  /// 64-byte aligned.
  void* alloc_bytes(size_t bytes);
  template <class T>
  T* alloc_array(int64_t n) {
    return static_cast<T*>(alloc_bytes(static_cast<size_t>(n) * sizeof(T)));
  }

  Mark mark() const { return position_; }
  void rewind(Mark mark) { position_ = mark; }
  /// Bytes held from the system.
  size_t capacity() const;
  /// Bytes allocated now, and the most there have been since reset_peak().
  size_t used() const;
  size_t peak() const { return peak_; }
  void reset_peak() { peak_ = used(); }

 private:
  struct Block {
    std::byte* data;
    size_t size;
    size_t begin;  ///< bytes allocated in the blocks before it
  };
  void* take(size_t bytes);

  std::vector<Block> blocks_;
  Mark position_;
  size_t peak_ = 0;
};

/// Gives back everything allocated from the arena during its life.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ArenaScope() { arena_.rewind(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  Arena::Mark mark_;
};

}  // namespace fathom
