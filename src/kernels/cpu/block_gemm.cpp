#include "kernels/cpu/block_gemm.h"

#include <algorithm>

#include "numerics/bf16.h"

namespace fathom::kernels::cpu {
namespace {

float load(const ConstTensorView& x, int64_t i, GemmPrecision precision) {
  if (x.dtype == DType::kBF16) return to_float(static_cast<const BF16*>(x.data)[i]);
  const float v = static_cast<const float*>(x.data)[i];
  return precision == GemmPrecision::kBF16 ? to_float(to_bf16(v)) : v;
}

}  // namespace

size_t block_gemm_workspace(Isa, GemmPrecision, int64_t, int64_t n, int64_t k) {
  return static_cast<size_t>(n * k) * sizeof(float);
}

void block_gemm(Isa, GemmLayout layout, GemmPrecision precision, ConstTensorView a,
                ConstTensorView b, MatrixView<float> c, bool accumulate, void* workspace) {
  const int64_t K = layout == GemmLayout::kTN ? a.rows() : a.cols(), N = c.cols;
  float* b_KN = static_cast<float*>(workspace);
  const int64_t b_k = layout == GemmLayout::kNT ? 1 : b.stride[0];
  const int64_t b_n = layout == GemmLayout::kNT ? b.stride[0] : 1;
  const int64_t a_m = layout == GemmLayout::kTN ? 1 : a.stride[0];
  const int64_t a_k = layout == GemmLayout::kTN ? a.stride[0] : 1;
  for (int64_t k = 0; k < K; ++k)
    for (int64_t n = 0; n < N; ++n) b_KN[k * N + n] = load(b, k * b_k + n * b_n, precision);
  for (int64_t m = 0; m < c.rows; ++m) {
    float* c_N = c.row(m);
    if (!accumulate) std::fill_n(c_N, N, 0.0f);
    for (int64_t k = 0; k < K; ++k) {
      const float x = load(a, m * a_m + k * a_k, precision);
      for (int64_t n = 0; n < N; ++n) c_N[n] += x * b_KN[k * N + n];
    }
  }
}

}  // namespace fathom::kernels::cpu
