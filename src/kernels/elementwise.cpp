#include "kernels/elementwise.h"

#include "kernels/cpu/ops_common.h"

namespace fathom::kernels {
namespace {

using namespace cpu;

/// A view cut into pieces of at most kPiece elements of one row; contiguous views of any rank are
/// one long row. The cut depends on the shape alone.
constexpr int64_t kPiece = 16384;

struct Pieces {
  int64_t rows = 0, cols = 0;
  int64_t per_row() const { return (cols + kPiece - 1) / kPiece; }
  int64_t count() const { return rows * per_row(); }
  int64_t row(int64_t i) const { return i / per_row(); }
  int64_t begin(int64_t i) const { return i % per_row() * kPiece; }
  int64_t size(int64_t i) const { return std::min(kPiece, cols - begin(i)); }
};

/// `one_row` when every view of the call is contiguous.
Pieces pieces_of(const ConstTensorView& x, bool one_row) {
  if (one_row) return {1, x.elements()};
  return {x.rank == 2 ? x.rows() : 1, x.cols()};
}

template <class R = Rows, class View>
R flat_or_rows(const char* kernel, const char* argument, const View& x, bool one_row) {
  if (!one_row) return rows_of<R>(kernel, argument, x);
  check_dtype(kernel, argument, x, {DType::kF32, DType::kBF16});
  return {x.data, x.elements(), x.dtype == DType::kBF16};
}

/// body(row, begin, size, index) for every piece, over the threads.
template <class Body>
void for_pieces(Context& ctx, const Pieces& p, int64_t bytes_per_element, Body body) {
  const int64_t bytes = bytes_per_element * std::min(kPiece, p.cols);
  for_items(ctx, p.count(), bytes, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) body(p.row(i), p.begin(i), p.size(i), i);
  });
}

void check_same_shape(const char* kernel, const ConstTensorView& x, const ConstTensorView& y) {
  FATHOM_ASSERT(x.rank == y.rank);
  for (int d = 0; d < x.rank; ++d)
    if (x.shape[d] != y.shape[d]) check_shape(kernel, "y", y, {x.shape[0], x.cols()});
}

template <double (*RowOps::*kSum)(Rows, int64_t)>
double sum_pieces(Context& ctx, const char* kernel, const ConstTensorView& x) {
  check_same_device(kernel, ctx, {x});
  const Pieces p = pieces_of(x, x.contiguous());
  const Rows rows = flat_or_rows(kernel, "x", x, x.contiguous());
  const ArenaScope scope(ctx.arena);
  double* partial = ctx.arena.alloc_array<double>(p.count());
  for_pieces(ctx, p, 4, [&](int64_t row, int64_t begin, int64_t size, int64_t index) {
    partial[index] = (ops(ctx).row.*kSum)(at(rows, row, begin), size);
  });
  double total = 0;
  for (int64_t i = 0; i < p.count(); ++i) total += partial[i];
  return total;
}

}  // namespace

void fill(Context& ctx, TensorView x, float value) {
  constexpr const char* kName = "fill";
  check_same_device(kName, ctx, {x});
  const bool one_row = x.contiguous();
  const MutableRows rows = flat_or_rows<MutableRows>(kName, "x", x, one_row);
  for_pieces(ctx, pieces_of(x, one_row), 4, [&](int64_t row, int64_t begin, int64_t size, int64_t) {
    ops(ctx).row.fill(at(rows, row, begin), value, size);
  });
}

void copy(Context& ctx, ConstTensorView x, TensorView y) {
  constexpr const char* kName = "copy";
  check_same_device(kName, ctx, {x, y});
  check_same_shape(kName, x, y);
  const bool one_row = x.contiguous() && y.contiguous();
  const Rows in = flat_or_rows(kName, "x", x, one_row);
  const MutableRows out = flat_or_rows<MutableRows>(kName, "y", y, one_row);
  for_pieces(ctx, pieces_of(x, one_row), 8, [&](int64_t row, int64_t begin, int64_t size, int64_t) {
    ops(ctx).row.copy(at(in, row, begin), at(out, row, begin), size);
  });
}

void add_scaled(Context& ctx, float scale, ConstTensorView x, TensorView y) {
  constexpr const char* kName = "add_scaled";
  check_same_device(kName, ctx, {x, y});
  check_same_shape(kName, x, y);
  check_dtype(kName, "y", y, {DType::kF32});
  const bool one_row = x.contiguous() && y.contiguous();
  const Rows in = flat_or_rows(kName, "x", x, one_row);
  const MutableRows out = flat_or_rows<MutableRows>(kName, "y", y, one_row);
  for_pieces(ctx, pieces_of(x, one_row), 12,
             [&](int64_t row, int64_t begin, int64_t size, int64_t) {
               float* dst = static_cast<float*>(at(out, row, begin).data);
               ops(ctx).row.add_scaled(at(in, row, begin), scale, dst, size);
             });
}

double sum_of_squares(Context& ctx, ConstTensorView x) {
  return sum_pieces<&RowOps::sum_of_squares>(ctx, "sum_of_squares", x);
}

double sum(Context& ctx, ConstTensorView x) {
  return sum_pieces<&RowOps::sum>(ctx, "sum", x);
}

}  // namespace fathom::kernels
