#include "kernels/cpu/gemm_operand.h"

#include "kernels/checks.h"

namespace fathom::kernels::cpu {
namespace {

void check_matrix(const char* kernel, const char* argument, const ConstTensorView& x,
                  std::initializer_list<DType> dtypes) {
  check_dtype(kernel, argument, x, dtypes);
  FATHOM_ASSERT(x.rank == 2 && (x.stride[1] == 1 || x.shape[1] <= 1));
}

int64_t div_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

void check_rows_by_cols(const ConstTensorView& x, int64_t rows, int64_t cols) {
  FATHOM_ASSERT(x.rank == 2 && x.rows() >= rows && x.cols() >= cols);
  FATHOM_ASSERT(x.stride[1] == 1 || x.cols() <= 1);
}

void check_tiled(const char* kernel, const char* argument, const GemmInput& x) {
  check_dtype(kernel, argument, x.scale, {DType::kF32});
  FATHOM_ASSERT(x.tile == kTile1x128 || x.tile == kTile128x1 || x.tile == kBlock128x128);
  check_rows_by_cols(x.scale, div_up(x.first_row + x.rows(), x.tile.rows),
                     div_up(x.cols(), x.tile.cols));
}

void check_zero_points(const GemmInput& x, int64_t rows, int64_t groups) {
  const bool bytes = x.zero.dtype == DType::kI8 && x.format == StorageFormat::kInt8;
  const int64_t a_word = x.format == StorageFormat::kInt4 ? 8 : 4;
  FATHOM_ASSERT(bytes || x.zero.dtype == DType::kI32);
  check_rows_by_cols(x.zero, bytes ? rows : div_up(rows, a_word), groups);
}

void check_groups(const char* kernel, const char* argument, const GemmInput& x) {
  check_dtype(kernel, argument, x.scale, {DType::kF32, DType::kBF16, DType::kF16});
  FATHOM_ASSERT(x.tile.rows == 1 && (x.tile.cols % 32 == 0 || x.tile.cols >= x.cols()));
  const int64_t rows = x.first_row + x.rows(), groups = div_up(x.cols(), x.tile.cols);
  check_rows_by_cols(x.scale, rows, groups);
  if (x.zero) check_zero_points(x, rows, groups);
}

/// A weight whose elements are not addressed one by one.
void check_packed(const char* kernel, const char* argument, const GemmInput& x) {
  const FormatInfo info = info_of(x.format);
  const DType dtype = x.format == StorageFormat::kInt4   ? DType::kI32
                      : x.format == StorageFormat::kInt8 ? DType::kI8
                                                         : DType::kU8;
  check_matrix(kernel, argument, x.values, {dtype});
  const auto row_bytes = x.values.cols() * static_cast<int64_t>(size_of(dtype));
  FATHOM_ASSERT(row_bytes >= stored_bytes(x.format, x.cols()));
  FATHOM_ASSERT(!is_gguf_block(x.format) || x.cols() % info.block == 0);
  if (is_grouped_int(x.format)) check_groups(kernel, argument, x);
}

}  // namespace

void check_activation(const char* kernel, const char* argument, const GemmInput& x) {
  FATHOM_ASSERT(x.first_row >= 0);
  if (x.format == StorageFormat::kE4M3) check_tiled(kernel, argument, x);
  check_matrix(kernel, argument, x.values, {DType::kF32, DType::kBF16, DType::kE4M3});
}

/// B, in any format.
void check_weight(const char* kernel, const char* argument, const GemmInput& x) {
  if (x.format == StorageFormat::kF16)
    return check_matrix(kernel, argument, x.values, {DType::kF16});
  if (!is_packed(x.format)) return check_activation(kernel, argument, x);
  FATHOM_ASSERT(x.first_row >= 0);
  check_packed(kernel, argument, x);
}

void check_extent(const char* kernel, const char* argument, const GemmInput& x, int64_t rows,
                  int64_t cols) {
  ConstTensorView elements = x.values;
  elements.shape[1] = x.cols();
  check_shape(kernel, argument, elements, {rows, cols});
}

GemmOperand operand_of(const GemmInput& x, bool k_contiguous) {
  GemmOperand o{x.values.data, x.format, x.values.stride[0], k_contiguous};
  if (is_packed(x.format)) o.stride *= static_cast<int64_t>(size_of(x.values.dtype));
  if (!x.scale) return o;
  o.scale = {x.scale.data, x.scale.dtype, x.scale.stride[0], x.scale.cols()};
  if (x.zero) o.zero = {x.zero.data, x.zero.dtype, x.zero.stride[0], x.zero.cols()};
  o.tile = x.tile;
  o.first_row = x.first_row;
  return o;
}

}  // namespace fathom::kernels::cpu
