#include "infer/hidden_queue.h"

#include <algorithm>

#include "kernels/elementwise.h"

namespace fathom {

ConstTensorView HiddenQueue::front(int64_t count) const {
  FATHOM_ASSERT(count <= rows_);
  return memory_.view().row_range(first_, count);
}

void HiddenQueue::put(Context& ctx, int64_t position, ConstTensorView hidden_TD) {
  FATHOM_ASSERT(position >= begin() && position <= end());
  rows_ = position - begin_;
  const int64_t total = rows_ + hidden_TD.rows();
  if (!memory_ || first_ + total > memory_.view().rows()) {
    Tensor moved(DType::kF32, {std::max<int64_t>(64, 2 * total), width_});
    if (rows_ > 0) kernels::copy(ctx, front(rows_), moved.view().row_range(0, rows_));
    memory_ = std::move(moved);
    first_ = 0;
  }
  kernels::copy(ctx, hidden_TD, memory_.view().row_range(first_ + rows_, hidden_TD.rows()));
  rows_ = total;
}

void HiddenQueue::drop_before(int64_t position) {
  const int64_t count = std::clamp<int64_t>(position - begin_, 0, rows_);
  begin_ += count;
  rows_ -= count;
  first_ = rows_ == 0 ? 0 : first_ + count;
}

void HiddenQueue::truncate(int64_t position) {
  rows_ = std::clamp<int64_t>(position - begin_, 0, rows_);
  begin_ = std::min(begin_, position);
}

}  // namespace fathom
