#pragma once

#include <cstring>
#include <limits>
#include <string>

#include "kernel_test.h"
#include "kernels/gemm.h"
#include "kernels/ref/gemm.h"

namespace fathom::gemm_test {

using kernels::GemmInput;
using kernels::GemmOptions;
using kernels::GemmPrecision;

enum class Layout { kNT, kNN, kTN };
inline constexpr Layout kLayouts[] = {Layout::kNT, Layout::kNN, Layout::kTN};
inline constexpr DType kInputs[] = {DType::kF32, DType::kBF16};

/// A strided matrix inside a larger buffer whose every other element is NaN: a kernel that reads
/// outside the view poisons its result.
struct Matrix {
  Matrix(DType dtype, int64_t rows, int64_t cols, uint64_t seed, int64_t padding = 5)
      : buffer(dtype, {rows + 2, cols + padding}) {
    for (int64_t i = 0; i < buffer.view().elements(); ++i)
      set_element(buffer, i, std::numeric_limits<float>::quiet_NaN());
    view = buffer.view().row_range(1, rows).col_range(padding / 2, cols);
    const Tensor values = random_tensor(dtype, {rows, cols}, seed);
    for (int64_t i = 0; i < rows * cols; ++i) set(i / cols, i % cols, element(values, i));
  }
  int64_t index(int64_t r, int64_t c) const {
    return (r + 1) * buffer.view().stride[0] + (buffer.view().cols() - view.cols()) / 2 + c;
  }
  float get(int64_t r, int64_t c) const { return element(buffer, index(r, c)); }
  void set(int64_t r, int64_t c, float v) { set_element(buffer, index(r, c), v); }

  Tensor buffer;
  TensorView view;
};

/// An E4M3 matrix with scales, both inside larger buffers of NaN. `first_row` rows lie above it
/// under the same scales. Scales are no powers of two, so that rounding shows.
struct ScaledMatrix {
  ScaledMatrix(int64_t rows, int64_t cols, kernels::ScaleTile tile, int64_t first_row,
               uint64_t seed, int64_t padding = 5)
      : codes(DType::kE4M3, {rows + 2, cols + padding}),
        scales(DType::kF32, {tiles(first_row + rows, tile.rows), tiles(cols, tile.cols) + 1}) {
    std::memset(codes.view().data, 0x7f, codes.view().bytes());
    for (int64_t i = 0; i < scales.view().elements(); ++i)
      set_element(scales, i, std::numeric_limits<float>::quiet_NaN());
    const TensorView inside = codes.view().row_range(1, rows).col_range(padding / 2, cols);
    const TensorView scale = scales.view().col_range(0, tiles(cols, tile.cols));
    input = kernels::ConstQuantizedView(inside, scale, tile, first_row);
    const Philox rng(seed);
    const auto stride = static_cast<uint64_t>(codes.view().cols());
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c)
        *code(r, c) =
            random_code(rng, static_cast<uint64_t>(r) * stride + static_cast<uint64_t>(c));
    for (int64_t r = 0; r < scale.rows(); ++r)
      for (int64_t c = 0; c < scale.cols(); ++c)
        set_element(scales, r * scale.stride[0] + c,
                    std::exp2(rng.uniform(static_cast<uint64_t>(~(r * 1000 + c))) * 4 - 6));
  }
  static int64_t tiles(int64_t n, int64_t side) { return (n + side - 1) / side; }
  /// Any but the two NaN.
  static uint8_t random_code(const Philox& rng, uint64_t i) {
    const uint32_t code = static_cast<uint32_t>(rng.uniform(i) * 256) & 255;
    return static_cast<uint8_t>((code & 0x7f) == 0x7f ? code - 1 : code);
  }
  uint8_t* code(int64_t r, int64_t c) const {
    return static_cast<uint8_t*>(codes.view().data) + (r + 1) * codes.view().stride[0] +
           (codes.view().cols() - input.cols()) / 2 + c;
  }

  Tensor codes, scales;
  kernels::GemmInput input;
};

/// True if everything around the view is still NaN.
inline bool padding_untouched(const Matrix& m) {
  const int64_t stride = m.buffer.view().cols(), first = m.index(0, 0) - stride;
  for (int64_t i = 0; i < m.buffer.view().elements(); ++i) {
    const int64_t r = i / stride - 1, c = i % stride - first;
    const bool inside = r >= 0 && r < m.view.rows() && c >= 0 && c < m.view.cols();
    if (!inside && !std::isnan(element(m.buffer, i))) return false;
  }
  return true;
}

inline Matrix operand_a(Layout l, DType t, int64_t m, int64_t k, uint64_t seed) {
  return l == Layout::kTN ? Matrix(t, k, m, seed) : Matrix(t, m, k, seed);
}
inline Matrix operand_b(Layout l, DType t, int64_t n, int64_t k, uint64_t seed) {
  return l == Layout::kNT ? Matrix(t, n, k, seed) : Matrix(t, k, n, seed);
}

inline void gemm(Context& ctx, Layout l, const GemmInput& a, const GemmInput& b, TensorView c,
                 GemmOptions options) {
  if (l == Layout::kNT) return kernels::gemm_nt(ctx, a, b, c, options);
  if (l == Layout::kNN) return kernels::gemm_nn(ctx, a, b, c, options);
  kernels::gemm_tn(ctx, a, b, c, options);
}

inline void ref_gemm(Layout l, const GemmInput& a, const GemmInput& b, TensorView c,
                     GemmOptions options) {
  if (l == Layout::kNT) return kernels::ref::gemm_nt(a, b, c, options);
  if (l == Layout::kNN) return kernels::ref::gemm_nn(a, b, c, options);
  kernels::ref::gemm_tn(a, b, c, options);
}

/// Magnitudes in F32; those of E4M3 after scaling.
inline Tensor absolute(const GemmInput& x) {
  Tensor y(DType::kF32, {x.rows(), x.cols()});
  for (int64_t r = 0; r < x.rows(); ++r)
    for (int64_t c = 0; c < x.cols(); ++c)
      set_element(y, r * x.cols() + c,
                  static_cast<float>(std::abs(kernels::ref::input_at(x, r, c))));
  return y;
}

/// How far a result is from what it should be, in units of the tolerance, and the worst place.
struct Deviation {
  double ratio = 0;
  std::string where;
};

/// Of c from exact + c_before (when accumulating), F64 both. A sum of `terms` roundings in FP32 of
/// terms whose magnitudes add to `magnitude` is off by at most terms·u·(magnitude + |C|),
/// u = 2^-24; a BF16 C adds one rounding, 2^-8 relative.
inline Deviation deviation(const Matrix& c, const Matrix& c_before, bool accumulate,
                           const Tensor& exact, const Tensor& magnitude, int64_t terms) {
  const int64_t rows = c.view.rows(), cols = c.view.cols();
  const double u = std::ldexp(1.0, -24), u_out = c.view.dtype == DType::kBF16 ? 0x1p-8 : u;
  Deviation worst;
  for (int64_t i = 0; i < rows * cols; ++i) {
    const double old = accumulate ? c_before.get(i / cols, i % cols) : 0;
    const double expected = exact.as<double>()[i] + old, actual = c.get(i / cols, i % cols);
    if (actual == expected) continue;  // infinities too
    if (std::isnan(expected) && std::isnan(actual)) continue;
    const double sum_error =
        static_cast<double>(terms) * u * (magnitude.as<double>()[i] + std::abs(old));
    const double bound = sum_error + u_out * (std::abs(expected) + sum_error);
    const double ratio = std::abs(actual - expected) / bound;
    if (ratio <= worst.ratio) continue;
    worst = {std::isnan(ratio) ? std::numeric_limits<double>::infinity() : ratio,
             "at " + std::to_string(i / cols) + ", " + std::to_string(i % cols) + ": " +
                 std::to_string(actual) + ", expected " + std::to_string(expected)};
  }
  return worst;
}

/// Of c from the product of the inputs, rounded as `options` say: the same rounded numbers on both
/// sides, their products exact or rounded once, so that a sum of K products and the old C in
/// whatever order has K + 2 roundings (Higham, Accuracy and Stability, eq. 3.5).
inline Deviation product_deviation(Layout l, const GemmInput& a, const GemmInput& b,
                                   const Matrix& c, const Matrix& c_before, GemmOptions options) {
  const int64_t k = l == Layout::kTN ? a.rows() : a.cols();
  Tensor exact(DType::kF64, {c.view.rows(), c.view.cols()});
  Tensor magnitude(DType::kF64, {c.view.rows(), c.view.cols()});
  GemmOptions plain = options;
  plain.accumulate = false;
  ref_gemm(l, a, b, exact, plain);
  ref_gemm(l, absolute(a), absolute(b), magnitude, plain);
  return deviation(c, c_before, options.accumulate, exact, magnitude, k + 2);
}

inline void expect_product(Layout l, const GemmInput& a, const GemmInput& b, const Matrix& c,
                           const Matrix& c_before, GemmOptions options) {
  const Deviation d = product_deviation(l, a, b, c, c_before, options);
  EXPECT_LE(d.ratio, 1) << d.where;
}

struct Case {
  Layout layout = Layout::kNT;
  int64_t m = 1, n = 1, k = 1;
  DType a = DType::kF32, b = DType::kF32, c = DType::kF32;
  GemmOptions options;
};

inline std::string describe(const Case& x) {
  const char* layouts[] = {"NT", "NN", "TN"};
  return std::string(layouts[static_cast<int>(x.layout)]) + " " + std::to_string(x.m) + "x" +
         std::to_string(x.n) + "x" + std::to_string(x.k) + " " + name_of(x.a) + "·" + name_of(x.b) +
         "→" + name_of(x.c) + (x.options.precision == GemmPrecision::kBF16 ? " bf16" : " f32") +
         (x.options.accumulate ? " +=" : "");
}

}  // namespace fathom::gemm_test
