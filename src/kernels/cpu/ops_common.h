#pragma once

#include <algorithm>
#include <cstdint>

#include "base/context.h"
#include "kernels/checks.h"
#include "kernels/cpu/ops_table.h"

namespace fathom::kernels::cpu {

inline const OpsTable& ops(const Context& ctx) {
  return ops_table(ctx.isa);
}

/// A rank-2 view (or rank 1: one row) of F32 or BF16 as rows.
template <class R = Rows, class View>
R rows_of(const char* kernel, const char* argument, const View& view) {
  check_dtype(kernel, argument, view, {DType::kF32, DType::kBF16});
  FATHOM_ASSERT(view.rank == 1 || view.rank == 2);
  FATHOM_ASSERT(view.stride[view.rank - 1] == 1 || view.cols() <= 1);
  return {view.data, view.rank == 2 ? view.stride[0] : view.cols(), view.dtype == DType::kBF16};
}
inline MutableRows mutable_rows_of(const char* kernel, const char* argument,
                                   const TensorView& view) {
  return rows_of<MutableRows>(kernel, argument, view);
}

/// Elements from (row, col) on. No output stays no output.
inline Rows at(Rows r, int64_t row, int64_t col = 0) {
  const int64_t offset = (row * r.stride + col) * (r.bf16 ? 2 : 4);
  return {static_cast<const std::byte*>(r.data) + offset, r.stride, r.bf16};
}
inline MutableRows at(MutableRows r, int64_t row, int64_t col = 0) {
  if (!r.data) return r;
  const int64_t offset = (row * r.stride + col) * (r.bf16 ? 2 : 4);
  return {static_cast<std::byte*>(r.data) + offset, r.stride, r.bf16};
}

/// The least memory traffic worth a thread: about ten microseconds, several times a wake-up.
inline constexpr int64_t kBytesPerThread = 64 << 10;

/// Items of bytes_each for for_range to hand out together, so that little work stays on the
/// caller's thread.
inline int64_t grain_of(int64_t bytes_each) {
  return std::max<int64_t>(1, kBytesPerThread / std::max<int64_t>(1, bytes_each));
}

/// Splits [0, n) over the threads, body(begin, end): for items independent of each other, each
/// touching about bytes_each.
template <class Body>
void for_items(Context& ctx, int64_t n, int64_t bytes_each, Body body) {
  ctx.pool.for_range(n, grain_of(bytes_each),
                     [&](int64_t begin, int64_t end, int) { body(begin, end); });
}

/// Columns a part of for_columns starts at: a multiple of every vector width and of cache lines.
inline constexpr int64_t kColumnGrain = 64;

/// As for_items over columns, for sums over rows: each column is summed by one thread, in row
/// order.
template <class Body>
void for_columns(Context& ctx, int64_t cols, int64_t bytes_each, Body body) {
  const int64_t blocks = (cols + kColumnGrain - 1) / kColumnGrain;
  for_items(ctx, blocks, bytes_each * kColumnGrain, [&](int64_t begin, int64_t end) {
    body(begin * kColumnGrain, std::min(end * kColumnGrain, cols));
  });
}

}  // namespace fathom::kernels::cpu
