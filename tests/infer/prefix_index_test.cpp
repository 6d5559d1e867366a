#include "infer/prefix_index.h"

#include <gtest/gtest.h>

#include <numeric>

namespace fathom {
namespace {

using enum TokenForm;

class PrefixIndexTest : public testing::Test {
 protected:
  static std::vector<int32_t> page_of(int32_t first) {
    std::vector<int32_t> tokens(kPageTokens);
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
  }
  /// A page that only the index keeps.
  PrefixIndex::Node add(PrefixIndex::Node parent, int32_t first, TokenForm form = kStreamed) {
    const int32_t page = *pool_.take();
    const auto node = index_.insert(parent, page_of(first), form, page);
    pool_.release(page);
    return node;
  }

  PagePool pool_{{{kernels::LatentCacheFormat::kBF16, 8, 2}, 1}, 4};
  PrefixIndex index_{pool_};
};

TEST_F(PrefixIndexTest, FindsPagesByAllThatComesBefore) {
  const auto a = add(PrefixIndex::kRoot, 0), b = add(a, 100);
  EXPECT_EQ(index_.find(PrefixIndex::kRoot, page_of(0), kStreamed), a);
  EXPECT_EQ(index_.find(a, page_of(100), kStreamed), b);
  EXPECT_FALSE(index_.find(PrefixIndex::kRoot, page_of(100), kStreamed));
  EXPECT_FALSE(index_.find(PrefixIndex::kRoot, page_of(0), kPacked));
  EXPECT_FALSE(index_.find(b, page_of(0), kStreamed));
}

TEST_F(PrefixIndexTest, KeepsTheFirstOfEqualPages) {
  const auto a = add(PrefixIndex::kRoot, 0);
  EXPECT_EQ(pool_.in_use(), 1);
  EXPECT_EQ(add(PrefixIndex::kRoot, 0), a);
  EXPECT_EQ(pool_.in_use(), 1);
  EXPECT_NE(add(PrefixIndex::kRoot, 0, kPacked), a);
}

TEST_F(PrefixIndexTest, EvictsTheOldestThatNothingNeeds) {
  const auto a = add(PrefixIndex::kRoot, 0), b = add(a, 100), c = add(PrefixIndex::kRoot, 200);
  EXPECT_EQ(index_.evictable(), 3);
  index_.pin(b);
  index_.find(PrefixIndex::kRoot, page_of(200), kStreamed);
  EXPECT_TRUE(index_.evict());  // c: a has a follower, b is pinned
  EXPECT_FALSE(index_.find(PrefixIndex::kRoot, page_of(200), kStreamed));
  EXPECT_FALSE(index_.evict());
  index_.unpin(b);
  pool_.retain(index_.page(b));  // as a sequence that reads it
  EXPECT_FALSE(index_.evict());
  pool_.release(index_.page(b));
  EXPECT_TRUE(index_.evict());
  EXPECT_TRUE(index_.evict());
  EXPECT_FALSE(index_.evict());
  EXPECT_EQ(pool_.in_use(), 0);
  static_cast<void>(c);
}

TEST(PagePool, BoundsWhatItHolds) {
  PagePool pool({{kernels::LatentCacheFormat::kFP8, 512, 64}, 3}, 2);
  EXPECT_EQ(pool.layout().bytes(), 3 * 64 * 656);
  EXPECT_EQ(pool.allocated_bytes(), 0);
  const auto a = pool.take(), b = pool.take();
  ASSERT_TRUE(a && b);
  EXPECT_FALSE(pool.take());
  EXPECT_EQ(pool.available(), 0);
  pool.retain(*a);
  pool.release(*a);
  EXPECT_FALSE(pool.take());
  pool.release(*a);
  EXPECT_EQ(pool.take(), a);
  EXPECT_EQ(pool.allocated_bytes(), 2 * pool.layout().bytes());
}

}  // namespace
}  // namespace fathom
