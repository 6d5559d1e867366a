#include "kernels/rmsnorm.h"

#include "quantized_test.h"

namespace fathom {
namespace {

using namespace kernels;

constexpr float kEps = 1e-6f;

/// The relative error of a sum of n terms in four interleaved sums over vectors of at least four
/// lanes: each partial sum has n/16 terms, their combination 2 + log2(lanes) <= 6 more, and a term
/// up to 3 roundings of its own.
double sum_error(int64_t n) {
  return (static_cast<double>(n) / 16 + 9) * kRoundF32;
}

struct Shape {
  int64_t t, d;
};
constexpr Shape kShapes[] = {{1, 1}, {3, 7}, {5, 64}, {2, 100}, {7, 513}, {33, 2048}};

// y = x·rstd·w: the sum's error is halved by the square root; division, root and products add 5
// roundings, the store one.
TEST(Rmsnorm, ForwardMatchesDefinition) {
  TestContext tc;
  for (const auto [t, d] : kShapes)
    for (const DType tx : kFloatTypes)
      for (const DType tw : kFloatTypes)
        for (const DType ty : kFloatTypes) {
          const Padded x(tx, t, d, 6, 1), y(ty, t, d, 10, 2);
          const Tensor w = random_tensor(tw, {d}, 3);
          const Tensor rstd(DType::kF32, {t});
          rmsnorm_forward(tc.ctx, x.view, w, kEps, y.view, rstd);
          const double error = sum_error(d) / 2 + 5 * kRoundF32;
          expect_values(y.view, ref::rmsnorm(values(x.view), values(w), kEps), 1e-30,
                        error + rounding_of(ty));
        }
}

TEST(Rmsnorm, KeepsRstd) {
  TestContext tc;
  const Tensor x = random_tensor(DType::kF32, {4, 96}, 1), w = random_tensor(DType::kF32, {96}, 2);
  const Tensor y(DType::kF32, {4, 96}), y2(DType::kF32, {4, 96}), rstd(DType::kF32, {4});
  rmsnorm_forward(tc.ctx, x, w, kEps, y, rstd);
  rmsnorm_forward(tc.ctx, x, w, kEps, y2, {});
  EXPECT_EQ(bits(y), bits(y2));
  for (int64_t t = 0; t < 4; ++t) {
    double sum = 0;
    for (int64_t i = 0; i < 96; ++i) sum += std::pow(x.as<float>()[t * 96 + i], 2);
    EXPECT_NEAR(rstd.as<float>()[t] * std::sqrt(sum / 96 + kEps), 1, sum_error(96));
  }
}

TEST(Rmsnorm, QuantizedOutputIsThatOfTheF32Output) {
  TestContext tc;
  for (const auto [t, d] : kShapes)
    for (const DType type : kFloatTypes) {
      const Tensor x = random_tensor(type, {t, d}, 1), w = random_tensor(DType::kF32, {d}, 2);
      const Tensor exact(DType::kF32, {t, d}), plain(type, {t, d}), y(type, {t, d});
      const Tensor rstd(DType::kF32, {t}), rstd_q(DType::kF32, {t});
      const QuantizedStorage both(t, d, kTile1x128), alone(t, d, kTile1x128);
      rmsnorm_forward(tc.ctx, x, w, kEps, exact, rstd);
      rmsnorm_forward(tc.ctx, x, w, kEps, plain, {});
      rmsnorm_forward(tc.ctx, x, w, kEps, y, {both.view, ScaleFormat::kF32}, {});
      rmsnorm_forward(tc.ctx, x, w, kEps, {}, {alone.view, ScaleFormat::kF32}, rstd_q);
      EXPECT_EQ(bits(y), bits(plain));
      EXPECT_EQ(bits(rstd_q), bits(rstd));
      expect_equal(contents(both.view),
                   ref::quantize(values(exact), d, kTile1x128, ScaleFormat::kF32));
      expect_equal(contents(alone.view), contents(both.view));
    }
}

// dx = rstd·(dy·w − x·c): relative to max|dy·w|·rstd plus max|x|·Σ|dy·w·x|/D·rstd³, which bounds
// what is subtracted, the error is that of the sum and of rstd (sum_error each) and 6 roundings.
double backward_scale(const Values& dy, const Values& x, const Values& w, double min_rms) {
  const double term = max_abs(dy) * max_abs(w), rstd = 1 / min_rms;
  return term * rstd + max_abs(x) * term * max_abs(x) * rstd * rstd * rstd;
}

double min_rms(const Values& x, int64_t d) {
  double least = 1e30;
  for (size_t t = 0; t < x.size() / d; ++t) {
    double sum = kEps;
    for (int64_t i = 0; i < d; ++i) sum += x[t * d + i] * x[t * d + i] / static_cast<double>(d);
    least = std::min(least, std::sqrt(sum));
  }
  return least;
}

Tensor rstd_of(TestContext& tc, const ConstTensorView& x) {
  const Tensor w(DType::kF32, {x.cols()}), y(DType::kF32, {x.rows(), x.cols()});
  Tensor rstd(DType::kF32, {x.rows()});
  rmsnorm_forward(tc.ctx, x, w, kEps, y, rstd);
  return rstd;
}

TEST(Rmsnorm, BackwardMatchesDefinition) {
  TestContext tc;
  for (const auto [t, d] : kShapes)
    for (const DType tdy : kFloatTypes)
      for (const DType tx : kFloatTypes)
        for (const DType tdx : kFloatTypes) {
          const Padded x(tx, t, d, 4, 1), dy(tdy, t, d, 8, 2), dx(tdx, t, d, 2, 3);
          const Tensor w = random_tensor(tx, {d}, 4), dw = random_tensor(DType::kF32, {d}, 5);
          const Tensor rstd = rstd_of(tc, x.view);
          const Values vx = values(x.view), vdy = values(dy.view), vw = values(w);
          ref::RmsnormGradients expected = ref::rmsnorm_backward(vdy, vx, vw, kEps);
          const double scale = backward_scale(vdy, vx, vw, min_rms(vx, d));
          const double error = (2 * sum_error(d) + 6 * kRoundF32) * scale;
          rmsnorm_backward_input(tc.ctx, dy.view, x.view, w, rstd, dx.view, false);
          expect_values(dx.view, expected.dx_TD, error, rounding_of(tdx));

          // dw: T terms in groups of four rows, each with the relative error of rstd.
          const Values before = values(dw);
          rmsnorm_backward_weight(tc.ctx, dy.view, x.view, rstd, dw);
          for (int64_t i = 0; i < d; ++i) expected.dw_D[i] += before[i];
          const double dw_scale = max_abs(before) + max_abs(vdy) * max_abs(vx) / min_rms(vx, d) *
                                                        static_cast<double>(t);
          expect_values(
              dw, expected.dw_D,
              (static_cast<double>(t) + 6) * kRoundF32 * dw_scale + sum_error(d) * dw_scale, 0);
        }
}

TEST(Rmsnorm, BackwardInputAccumulates) {
  TestContext tc;
  const int64_t t = 3, d = 70;
  const Tensor x = random_tensor(DType::kBF16, {t, d}, 1),
               dy = random_tensor(DType::kF32, {t, d}, 2);
  const Tensor w = random_tensor(DType::kF32, {d}, 3), rstd = rstd_of(tc, x);
  const Tensor once(DType::kF32, {t, d}), sum = random_tensor(DType::kF32, {t, d}, 4);
  const Values before = values(sum);
  rmsnorm_backward_input(tc.ctx, dy, x, w, rstd, once, false);
  rmsnorm_backward_input(tc.ctx, dy, x, w, rstd, sum, true);
  Values expected = values(once);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];
  expect_values(sum, expected, 4 * kRoundF32, kRoundF32);  // contraction may save a rounding
}

TEST(Rmsnorm, NanStaysInItsRow) {
  TestContext tc;
  const Tensor x = random_tensor(DType::kF32, {3, 40}, 1), w = random_tensor(DType::kF32, {40}, 2);
  const Tensor y(DType::kF32, {3, 40});
  x.as<float>()[40 + 39] = NAN;
  rmsnorm_forward(tc.ctx, x, w, kEps, y, {});
  expect_values(y, ref::rmsnorm(values(x), values(w), kEps), 1e-30, sum_error(40) + 6 * kRoundF32);
}

TEST(Rmsnorm, SameBitsForAnyTeam) {
  const int64_t t = 131, d = 1000;
  const Tensor x = random_tensor(DType::kBF16, {t, d}, 1),
               dy = random_tensor(DType::kF32, {t, d}, 2);
  const Tensor w = random_tensor(DType::kF32, {d}, 3);
  expect_same_for_threads([&](Context& ctx) {
    const Tensor y(DType::kF32, {t, d}), rstd(DType::kF32, {t});
    rmsnorm_forward(ctx, x, w, kEps, y, rstd);
    return bits(y);
  });
  TestContext tc;
  const Tensor rstd = rstd_of(tc, x);
  expect_same_for_threads([&](Context& ctx) {
    const Tensor dx(DType::kF32, {t, d});
    rmsnorm_backward_input(ctx, dy, x, w, rstd, dx, false);
    return bits(dx);
  });
  expect_same_for_threads([&](Context& ctx) {
    const Tensor dw(DType::kF32, {d});
    rmsnorm_backward_weight(ctx, dy, x, rstd, dw);
    return bits(dw);
  });
}

TEST(Rmsnorm, DefinitionAgreesWithFiniteDifferences) {
  const int64_t t = 2, d = 5;
  const Values x = random_values(t * d, 1), dy = random_values(t * d, 2), w = random_values(d, 3);
  const ref::RmsnormGradients g = ref::rmsnorm_backward(dy, x, w, kEps);
  expect_gradient(x, g.dx_TD, [&](const Values& v) { return dot(ref::rmsnorm(v, w, kEps), dy); });
  expect_gradient(w, g.dw_D, [&](const Values& v) { return dot(ref::rmsnorm(x, v, kEps), dy); });
}

}  // namespace
}  // namespace fathom
