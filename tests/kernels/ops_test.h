#pragma once

#include <functional>
#include <vector>

#include "kernel_test.h"
#include "kernels/ref/ops.h"

namespace fathom {

using kernels::ref::Values;

/// Half a unit in the last place, relative: the error of one rounding.
inline constexpr double kRoundF32 = 0x1p-24, kRoundBF16 = 0x1p-8;
inline double rounding_of(DType dtype) {
  return dtype == DType::kBF16 ? kRoundBF16 : kRoundF32;
}

inline constexpr DType kFloatTypes[] = {DType::kF32, DType::kBF16};

/// The elements of a view of any strides, in row-major order.
inline Values values(const ConstTensorView& x) {
  Values out;
  out.reserve(static_cast<size_t>(x.elements()));
  std::array<int64_t, 4> n = {1, 1, 1, 1}, step{};
  for (int d = 0; d < x.rank; ++d)
    n[4 - x.rank + d] = x.shape[d], step[4 - x.rank + d] = x.stride[d];
  for (int64_t a = 0; a < n[0]; ++a)
    for (int64_t b = 0; b < n[1]; ++b)
      for (int64_t c = 0; c < n[2]; ++c)
        for (int64_t d = 0; d < n[3]; ++d)
          out.push_back(element(x, a * step[0] + b * step[1] + c * step[2] + d * step[3]));
  return out;
}

/// |actual − expected| <= absolute + relative·|expected|, NaN where NaN is expected, the same
/// infinities. Reports the worst place.
inline void expect_values(const ConstTensorView& actual_view, const Values& expected,
                          double absolute, double relative) {
  const Values actual = values(actual_view);
  ASSERT_EQ(actual.size(), expected.size());
  double worst = 0;
  size_t where = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double a = actual[i], e = expected[i];
    ASSERT_EQ(std::isnan(a), std::isnan(e)) << "at " << i << ": " << a << ", expected " << e;
    if (std::isnan(e) || a == e) continue;
    const double excess = std::abs(a - e) / (absolute + relative * std::abs(e));
    if (!(excess <= worst)) worst = excess, where = i;
  }
  EXPECT_LE(worst, 1) << "at " << where << " of " << describe(actual_view) << ": " << actual[where]
                      << ", expected " << expected[where];
}

inline double max_abs(const Values& v) {
  double m = 0;
  for (double x : v) m = std::max(m, std::abs(x));
  return m;
}

/// A random [rows, cols] view whose rows are `pad` elements apart in a larger tensor.
struct Padded {
  Padded(DType dtype, int64_t rows, int64_t cols, int64_t pad, uint64_t seed, float stddev = 1)
      : memory(random_tensor(dtype, {rows, cols + pad}, seed, stddev)),
        view(memory.view().col_range(pad / 2, cols)) {}
  Tensor memory;
  TensorView view;
};

/// The bits of a contiguous view.
inline std::vector<std::byte> bits(const ConstTensorView& x) {
  const auto* p = static_cast<const std::byte*>(x.data);
  return {p, p + x.bytes()};
}

/// `work` gives the same bits with teams of 1, 2 and 3 threads.
inline void expect_same_for_threads(const std::function<std::vector<std::byte>(Context&)>& work) {
  TestContext one(1), two(2), three(3);
  const auto expected = work(one.ctx);
  EXPECT_EQ(work(two.ctx), expected);
  EXPECT_EQ(work(three.ctx), expected);
}

/// Checks gradient = d f / d x by central differences in double. Truncation error is O(h²) and
/// rounding error O(2^-53 |f| / h): with h = 1e-5 both stay below 1e-8 for values of order one.
inline void expect_gradient(Values x, const Values& gradient,
                            const std::function<double(const Values&)>& f,
                            double tolerance = 1e-7) {
  ASSERT_EQ(x.size(), gradient.size());
  const double h = 1e-5;
  for (size_t i = 0; i < x.size(); ++i) {
    const double at = x[i];
    x[i] = at + h;
    const double above = f(x);
    x[i] = at - h;
    const double below = f(x);
    x[i] = at;
    EXPECT_NEAR((above - below) / (2 * h), gradient[i], tolerance) << "at " << i;
  }
}

inline Values random_values(int64_t n, uint64_t seed) {
  return values(random_tensor(DType::kF32, {n}, seed));
}

inline double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace fathom
