#pragma once

#include "base/context.h"

namespace fathom {

/// Representations (F32 [D]) of consecutive positions that a multi-token prediction module has yet
/// to consume.
class HiddenQueue {
 public:
  /// begin: the first position that will be put.
  explicit HiddenQueue(int64_t width, int64_t begin = 0) : width_(width), begin_(begin) {}

  int64_t begin() const { return begin_; }  ///< first position held
  int64_t end() const { return begin_ + rows_; }
  /// Positions [begin, begin + count).
  ConstTensorView front(int64_t count) const;

  /// Puts the rows at `position`, in place of anything held from there on. position lies in
  /// [begin, end].
  void put(Context& ctx, int64_t position, ConstTensorView hidden_TD);
  /// Forgets positions before / from `position` on.
  void drop_before(int64_t position);
  void truncate(int64_t position);

 private:
  int64_t width_;
  int64_t begin_, rows_ = 0;
  int64_t first_ = 0;  ///< row of memory_ that holds position begin
  Tensor memory_;
};

}  // namespace fathom
