#include "base/arena.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

TEST(Arena, ScopeGivesMemoryBackAndBlocksAreKept) {
  Arena arena;
  void* first = arena.alloc_bytes(100);
  const size_t capacity = [&] {
    ArenaScope scope(arena);
    arena.alloc_bytes(64 << 20);
    return arena.capacity();
  }();
  {
    ArenaScope scope(arena);
    arena.alloc_bytes(64 << 20);
  }
  EXPECT_EQ(arena.capacity(), capacity);
  EXPECT_NE(arena.alloc_bytes(1), first);
}

TEST(Arena, AllocationsAreAlignedAndDisjoint) {
  Arena arena;
  char* previous_end = nullptr;
  for (size_t n : {1, 63, 64, 65, 1000}) {
    char* p = static_cast<char*>(arena.alloc_bytes(n));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0u);
    EXPECT_GE(p, previous_end);
    previous_end = p + n;
  }
}

TEST(Arena, CountsWhatIsAllocatedButNotWhatBlocksLeave) {
  Arena arena;
  EXPECT_EQ(arena.used(), 0u);
  arena.alloc_bytes(3 << 20);
  {
    ArenaScope scope(arena);
    arena.alloc_bytes(3 << 20);  // does not fit the rest of the first block
    EXPECT_EQ(arena.used(), size_t{6} << 20);
  }
  EXPECT_EQ(arena.used(), size_t{3} << 20);
  arena.alloc_bytes(64);
  EXPECT_EQ(arena.used(), (size_t{3} << 20) + 64);
  EXPECT_EQ(arena.peak(), size_t{6} << 20);
  arena.reset_peak();
  EXPECT_EQ(arena.peak(), arena.used());
}

TEST(Arena, TensorHasTheShapeAskedFor) {
  Arena arena;
  const TensorView v = arena.alloc(DType::kBF16, {3, 5});
  EXPECT_EQ(v.bytes(), 30u);
  EXPECT_TRUE(v.contiguous());
}

}  // namespace
}  // namespace fathom
