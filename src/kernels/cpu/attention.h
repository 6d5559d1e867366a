#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "base/tensor.h"
#include "kernels/attention.h"
#include "kernels/cpu/ops_table.h"

namespace fathom::kernels::cpu {

/// Queries are handed to threads in multiples of this many, counted from their sequence's start.
inline constexpr int64_t kQueryTile = 64;
/// Keys multiplied and exponentiated together, counted from their sequence's start.
inline constexpr int64_t kKeyTile = 128;
/// Queries whose scores against one key tile are held at once.
inline constexpr int64_t kQueryBlock = 256;

/// Inputs of attention, as in kernels/attention.h.
struct AttentionInputs {
  Isa isa;
  MlaShape shape;
  GemmPrecision precision;
  ConstTensorView q_TX, kv_TX, k_rope_TR;

  int64_t qk_dim() const { return shape.nope_dim + shape.rope_dim; }
  /// What the products multiply: inputs are converted to it once, not in every product.
  DType product_dtype() const {
    return precision == GemmPrecision::kBF16 ? DType::kBF16 : DType::kF32;
  }
};

struct AttentionForward {
  AttentionInputs in;
  TensorView out_TX, lse_TH;
};

struct AttentionBackward {
  AttentionInputs in;
  ConstTensorView out_TX, lse_TH, dout_TX;
  TensorView dq_TX, dkv_TX;
  float* dk_rope_THR;  ///< each head's own share of dk_rope
};

/// Work of one head in one sequence, on one thread: tokens [begin, end), of which queries [q_begin,
/// q_end). q_begin − begin is a multiple of kQueryTile.
struct AttentionItem {
  int64_t head, begin, end, q_begin, q_end;
};

/// Bytes of scratch memory (64-byte aligned) for items of at most kQueryBlock queries.
size_t attention_forward_scratch(const AttentionInputs& in);
void attention_forward(const AttentionForward& args, const AttentionItem& item, std::byte* scratch);

/// For items of whole sequences of at most `tokens`.
size_t attention_backward_scratch(const AttentionInputs& in, int64_t tokens);
void attention_backward(const AttentionBackward& args, const AttentionItem& item,
                        std::byte* scratch);

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

/// The rows of a matrix as the row operations take them.
inline Rows rows_of(const ConstTensorView& x) {
  return {x.data, x.stride[0], x.dtype == DType::kBF16};
}
inline MutableRows rows_of(const TensorView& x) {
  return {x.data, x.stride[0], x.dtype == DType::kBF16};
}
inline MatrixView<float> row_range(const MatrixView<float>& x, int64_t begin, int64_t rows) {
  return {x.row(begin), rows, x.cols, x.stride};
}
inline ConstTensorView tensor_of(const MatrixView<float>& x) {
  ConstTensorView v(x.data, DType::kF32, {x.rows, x.cols});
  v.stride[0] = x.stride;
  return v;
}
inline TensorView block(const TensorView& x, int64_t row, int64_t rows, int64_t col, int64_t cols) {
  return x.row_range(row, rows).col_range(col, cols);
}
inline ConstTensorView block(const ConstTensorView& x, int64_t row, int64_t rows, int64_t col,
                             int64_t cols) {
  return x.row_range(row, rows).col_range(col, cols);
}

/// Copies rows with conversion.
void convert_rows(Isa isa, const ConstTensorView& from, const TensorView& to);

}  // namespace fathom::kernels::cpu
