#pragma once

#include <cstddef>
#include <cstdint>

#include "base/tensor.h"
#include "kernels/cpu/gemm_table.h"
#include "kernels/cpu/ops_table.h"

/// Small matrices as attention handles them: scratch memory, views, and products of operands that
/// are packed once and multiplied often.
namespace fathom::kernels::cpu {

/// Hands out consecutive arrays of scratch memory, each 64-byte aligned. Over no memory it only
/// counts.
class Carve {
 public:
  explicit Carve(std::byte* memory) : memory_(memory) {}

  std::byte* bytes(size_t n) {
    const size_t at = used_;
    used_ += (n + 63) / 64 * 64;
    return memory_ ? memory_ + at : nullptr;
  }
  float* floats(int64_t n) {
    return reinterpret_cast<float*>(bytes(static_cast<size_t>(n) * sizeof(float)));
  }
  MatrixView<float> matrix(int64_t rows, int64_t cols) {
    return {floats(rows * cols), rows, cols, cols};
  }
  TensorView tensor(DType dtype, int64_t rows, int64_t cols) {
    return {bytes(static_cast<size_t>(rows * cols) * size_of(dtype)), dtype, {rows, cols}};
  }
  size_t used() const { return used_; }

 private:
  std::byte* memory_;
  size_t used_ = 0;
};

inline Rows rows_of(const ConstTensorView& x) {
  return {x.data, x.stride[0], x.dtype == DType::kBF16};
}
inline MutableRows rows_of(const TensorView& x) {
  return {x.data, x.stride[0], x.dtype == DType::kBF16};
}
inline ConstTensorView tensor_of(const MatrixView<float>& x) {
  ConstTensorView v(x.data, DType::kF32, {x.rows, x.cols});
  v.stride[0] = x.stride;
  return v;
}

/// Rows [row, row + rows) of columns [col, col + cols).
inline MatrixView<float> block(const MatrixView<float>& x, int64_t row, int64_t rows, int64_t col,
                               int64_t cols) {
  return {x.row(row) + col, rows, cols, x.stride};
}
template <bool kConst>
BasicTensorView<kConst> block(const BasicTensorView<kConst>& x, int64_t row, int64_t rows,
                              int64_t col, int64_t cols) {
  return x.row_range(row, rows).col_range(col, cols);
}

/// Copies rows with conversion. A head's rows lie a whole token apart, often in pages of their own,
/// which the hardware does not prefetch.
inline void convert_rows(const RowOps& ops, const ConstTensorView& from, const TensorView& to) {
  constexpr int64_t kAhead = 8, kLine = 64;
  const auto* x = static_cast<const std::byte*>(from.data);
  auto* y = static_cast<std::byte*>(to.data);
  const auto x_size = static_cast<int64_t>(size_of(from.dtype)), x_step = from.stride[0] * x_size;
  const int64_t y_step = to.stride[0] * static_cast<int64_t>(size_of(to.dtype));
  const bool x_bf16 = from.dtype == DType::kBF16, y_bf16 = to.dtype == DType::kBF16;
  for (int64_t r = 0; r < from.rows(); ++r, x += x_step, y += y_step) {
    if (r + kAhead < from.rows())
      for (int64_t i = 0; i < from.cols() * x_size; i += kLine)
        __builtin_prefetch(x + kAhead * x_step + i);
    ops.copy({x, from.stride[0], x_bf16}, {y, to.stride[0], y_bf16}, from.cols());
  }
}

/// An operand of C[M,N] = A[M,K]·B[K,N] in panels (see gemm_table.h).
struct Packed {
  std::byte* data = nullptr;
  int64_t panel_bytes = 0;
};

/// Products of packed operands in one precision on one instruction set.
class PackedProducts {
 public:
  explicit PackedProducts(const GemmKernels& kernels) : k_(kernels) {}

  Packed carve_a(Carve& carve, int64_t m, int64_t k) const {
    return carve_panels(carve, k_.a_panels(m), k_.a_panel_bytes(k));
  }
  Packed carve_b(Carve& carve, int64_t n, int64_t k) const {
    return carve_panels(carve, k_.b_panels(n), k_.b_panel_bytes(k));
  }

  void pack_a(const ConstTensorView& a_MK, const Packed& to) const {
    k_.pack_a(operand(a_MK, true), {0, a_MK.rows()}, {0, a_MK.cols()}, to.data, to.panel_bytes);
  }
  void pack_a_transposed(const ConstTensorView& a_KM, const Packed& to) const {
    k_.pack_a(operand(a_KM, false), {0, a_KM.cols()}, {0, a_KM.rows()}, to.data, to.panel_bytes);
  }
  void pack_b(const ConstTensorView& b_KN, const Packed& to) const {
    k_.pack_b(operand(b_KN, false), {0, b_KN.cols()}, {0, b_KN.rows()}, to.data, to.panel_bytes);
  }
  void pack_b_transposed(const ConstTensorView& b_NK, const Packed& to) const {
    k_.pack_b(operand(b_NK, true), {0, b_NK.rows()}, {0, b_NK.cols()}, to.data, to.panel_bytes);
  }

  /// Rows of A that are worth a product of their own: whole panels.
  int64_t strip_rows() const {
    constexpr int64_t kLeast = 24;
    return (kLeast + k_.mr - 1) / k_.mr * k_.mr;
  }
  /// A from row m, or B from column n on: multiples of the panel's rows or columns.
  Packed a_from_row(const Packed& a, int64_t m) const {
    FATHOM_ASSERT(m % k_.mr == 0);
    return {a.data + m / k_.mr * a.panel_bytes, a.panel_bytes};
  }
  Packed b_from_column(const Packed& b, int64_t n) const {
    FATHOM_ASSERT(n % k_.nr == 0);
    return {b.data + n / k_.nr * b.panel_bytes, b.panel_bytes};
  }
  /// B from row k of K on, a multiple of the segment length.
  Packed b_from_k(const Packed& b, int64_t k) const {
    FATHOM_ASSERT(k % k_.kr == 0);
    return {b.data + k / k_.kr * k_.nr * k_.segment_bytes(), b.panel_bytes};
  }

  /// C (+)= A·B; c has M rows and N columns, of K the first k are used.
  void multiply(const Packed& a, const Packed& b, int64_t k, const MatrixView<float>& c,
                bool accumulate) const {
    k_.multiply({a.data, b.data, a.panel_bytes, b.panel_bytes, c.rows, c.cols, k, c.data, c.stride,
                 accumulate});
  }

 private:
  static Packed carve_panels(Carve& carve, int64_t panels, int64_t panel_bytes) {
    return {carve.bytes(static_cast<size_t>(panels * panel_bytes)), panel_bytes};
  }
  static GemmOperand operand(const ConstTensorView& x, bool k_contiguous) {
    return {x.data, GemmInput::plain_format(x.dtype), x.stride[0], k_contiguous};
  }

  const GemmKernels& k_;
};

}  // namespace fathom::kernels::cpu
