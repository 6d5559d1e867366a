#pragma once

// Tiles of attention: loading rows of strided activations, small products. Included by the files
// that are compiled once for each instruction set.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/tensor.h"
#include "kernels/cpu/attention.h"
#include "numerics/bf16.h"

namespace fathom::kernels::FATHOM_ISA_NS {

inline float load(const ConstTensorView& x, int64_t index) {
  return x.dtype == DType::kBF16 ? to_float(static_cast<const BF16*>(x.data)[index])
                                 : static_cast<const float*>(x.data)[index];
}

inline void store(const TensorView& x, int64_t index, float value) {
  if (x.dtype == DType::kBF16)
    static_cast<BF16*>(x.data)[index] = to_bf16(value);
  else
    static_cast<float*>(x.data)[index] = value;
}

/// What the products of this precision see of a value.
inline float rounded(float x, GemmPrecision precision) {
  return precision == GemmPrecision::kBF16 ? to_float(to_bf16(x)) : x;
}

/// to[r][c] = x[row + r][col + c] for r < rows, c < cols.
inline void load_rows(const ConstTensorView& x, int64_t row, int64_t rows, int64_t col,
                      int64_t cols, GemmPrecision precision, float* to, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      to[r * stride + c] = rounded(load(x, (row + r) * x.stride[0] + col + c), precision);
}

inline void store_rows(const float* from, int64_t stride, const TensorView& x, int64_t row,
                       int64_t rows, int64_t col, int64_t cols) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      store(x, (row + r) * x.stride[0] + col + c, from[r * stride + c]);
}

/// c[M,N] (+)= a[M,K] · b[K,N]
inline void product(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc,
                    int64_t M, int64_t N, int64_t K, bool accumulate) {
  for (int64_t m = 0; m < M; ++m) {
    if (!accumulate) std::fill_n(c + m * ldc, N, 0.f);
    for (int64_t k = 0; k < K; ++k)
      for (int64_t n = 0; n < N; ++n) c[m * ldc + n] += a[m * lda + k] * b[k * ldb + n];
  }
}

inline void transpose(const float* a, int64_t lda, float* t, int64_t ldt, int64_t rows,
                      int64_t cols) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) t[c * ldt + r] = a[r * lda + c];
}

/// Hands out consecutive arrays of a work item's scratch memory, each 64-byte aligned. Over no
/// memory it only counts.
class Carve {
 public:
  explicit Carve(std::byte* scratch) : scratch_(scratch) {}
  template <class T>
  T* take(int64_t n) {
    const size_t at = used_;
    used_ += (static_cast<size_t>(n) * sizeof(T) + 63) / 64 * 64;
    return scratch_ ? reinterpret_cast<T*>(scratch_ + at) : nullptr;
  }
  size_t used() const { return used_; }

 private:
  std::byte* scratch_;
  size_t used_ = 0;
};

}  // namespace fathom::kernels::FATHOM_ISA_NS
