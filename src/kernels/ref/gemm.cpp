#include "kernels/ref/gemm.h"

#include "kernels/ref/weights.h"
#include "numerics/bf16.h"

namespace fathom::kernels::ref {
namespace {

double load(const ConstTensorView& x, int64_t r, int64_t c) {
  const int64_t i = r * x.stride[0] + c;
  if (x.dtype == DType::kF64) return x.as<double>()[i];
  return x.dtype == DType::kBF16 ? to_float(x.as<BF16>()[i]) : x.as<float>()[i];
}

double load_input(const GemmInput& x, int64_t r, int64_t c, GemmPrecision precision) {
  const double v = input_at(x, r, c);
  return precision == GemmPrecision::kBF16 ? to_float(to_bf16(static_cast<float>(v))) : v;
}

void store(const TensorView& x, int64_t r, int64_t c, double value) {
  const int64_t i = r * x.stride[0] + c;
  if (x.dtype == DType::kF64)
    x.as<double>()[i] = value;
  else if (x.dtype == DType::kBF16)
    x.as<BF16>()[i] = to_bf16(static_cast<float>(value));
  else
    x.as<float>()[i] = static_cast<float>(value);
}

// C[m,n] = Σ_k a_at(m,k) · b_at(k,n)
template <class A, class B>
void product(const TensorView& c, int64_t k_count, GemmOptions options, A a_at, B b_at) {
  for (int64_t m = 0; m < c.rows(); ++m)
    for (int64_t n = 0; n < c.cols(); ++n) {
      double sum = options.accumulate ? load(c, m, n) : 0;
      for (int64_t k = 0; k < k_count; ++k) sum += a_at(m, k) * b_at(k, n);
      store(c, m, n, sum);
    }
}

}  // namespace

double input_at(const GemmInput& x, int64_t r, int64_t c) {
  const bool wide = x.values.dtype == DType::kF64;
  return wide ? load(x.values, r, c) : static_cast<double>(weight_at(x, r, c));
}

void gemm_nt(const GemmInput& a, const GemmInput& b, TensorView c, GemmOptions options) {
  product(
      c, a.cols(), options,
      [&](int64_t m, int64_t k) { return load_input(a, m, k, options.precision); },
      [&](int64_t k, int64_t n) { return load_input(b, n, k, options.precision); });
}

void gemm_nn(const GemmInput& a, const GemmInput& b, TensorView c, GemmOptions options) {
  product(
      c, a.cols(), options,
      [&](int64_t m, int64_t k) { return load_input(a, m, k, options.precision); },
      [&](int64_t k, int64_t n) { return load_input(b, k, n, options.precision); });
}

void gemm_tn(const GemmInput& a, const GemmInput& b, TensorView c, GemmOptions options) {
  product(
      c, a.rows(), options,
      [&](int64_t m, int64_t k) { return load_input(a, k, m, options.precision); },
      [&](int64_t k, int64_t n) { return load_input(b, k, n, options.precision); });
}

void grouped_gemm_nt(const GemmInput& a, std::span<const GemmInput> b, TensorView c,
                     GroupOffsets offsets, GemmOptions options) {
  for (size_t g = 0; g < b.size(); ++g) {
    const int64_t begin = offsets[g], count = offsets[g + 1] - begin;
    gemm_nt(a.row_range(begin, count), b[g], c.row_range(begin, count), options);
  }
}

void grouped_gemm_nn(const GemmInput& a, std::span<const GemmInput> b, TensorView c,
                     GroupOffsets offsets, GemmOptions options) {
  for (size_t g = 0; g < b.size(); ++g) {
    const int64_t begin = offsets[g], count = offsets[g + 1] - begin;
    gemm_nn(a.row_range(begin, count), b[g], c.row_range(begin, count), options);
  }
}

void grouped_gemm_tn(const GemmInput& a, const GemmInput& b, std::span<const TensorView> c,
                     GroupOffsets offsets, GemmOptions options) {
  for (size_t g = 0; g < c.size(); ++g) {
    const int64_t begin = offsets[g], count = offsets[g + 1] - begin;
    gemm_tn(a.row_range(begin, count), b.row_range(begin, count), c[g], options);
  }
}

}  // namespace fathom::kernels::ref
