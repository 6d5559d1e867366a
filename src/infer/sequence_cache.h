#pragma once

#include <span>

#include "infer/page_pool.h"
#include "model/pass.h"

namespace fathom {

/// What the layers remember of one sequence: its pages, some of which may be shared with other
/// sequences and are then not written.
class SequenceCache {
 public:
  explicit SequenceCache(PagePool& pool) : pool_(&pool) {}
  SequenceCache(SequenceCache&& other) noexcept;
  SequenceCache& operator=(SequenceCache&& other) noexcept;
  ~SequenceCache() { clear(); }

  /// Tokens that the main model has read.
  int64_t length() const { return length_; }
  void set_length(int64_t length);
  std::span<const int32_t> pages() const { return pages_; }
  /// Gives all pages back.
  void clear();

  /// Appends a full page of another sequence. The cache holds full pages only.
  void share(int32_t page);
  /// Takes another sequence's page for number i, a full one of the same contents, and gives the own
  /// back.
  void replace(int64_t i, int32_t page);
  /// Makes room for `tokens` in all. False when the pool has no page left; those taken stay.
  bool reserve(int64_t tokens);
  /// Tokens there is room for.
  int64_t room() const { return std::ssize(pages_) * kPageTokens; }

  /// The first `tokens` rows of a layer, within the room.
  kernels::LatentCacheView view(int64_t layer, int64_t tokens) const;
  /// Writes rows [begin, begin + T) of a layer, as Mla::project gives them: latent_TC, and the rope
  /// columns of kv_a_TX.
  void write(Context& ctx, int64_t layer, int64_t begin, ConstTensorView latent_TC,
             ConstTensorView k_rope_TR);

 private:
  PagePool* pool_;
  std::vector<int32_t> pages_;
  std::vector<const std::byte*> data_;  ///< of pages_
  int64_t shared_ = 0;                  ///< pages at the front that are not ours to write
  int64_t length_ = 0;
};

}  // namespace fathom
