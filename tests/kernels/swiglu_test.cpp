#include "kernels/swiglu.h"

#include "kernels/cpu/ops_table.h"
#include "ops_test.h"

namespace fathom {
namespace {

using namespace kernels;

/// Every kStep-th bit pattern, all floats being too many for a quick test. A prime, so that all
/// mantissas and exponents come up.
constexpr uint64_t kStep = 1009;

// Units in the last place between FP32 neighbours of `exact` (2^-149 among subnormals).
double ulp_at(double exact) {
  return std::max(0x1p-149, std::ldexp(1.0, std::ilogb(exact) - 23));
}

TEST(VectorExp, IsWithinItsBoundEverywhere) {
  TestContext tc;
  const auto& table = cpu::ops_table(tc.ctx.isa).activation;
  constexpr int64_t kBlock = 4096;
  std::vector<float> x(kBlock), y(kBlock);
  double worst = 0;
  float worst_at = 0;
  for (uint64_t first = 0; first < uint64_t{1} << 32; first += kBlock * kStep) {
    for (int64_t i = 0; i < kBlock; ++i)
      x[i] = std::bit_cast<float>(static_cast<uint32_t>(first + i * kStep));
    table.exp(x.data(), y.data(), kBlock);
    for (int64_t i = 0; i < kBlock; ++i) {
      const double exact = std::exp(static_cast<double>(x[i]));
      ASSERT_EQ(std::isnan(y[i]), std::isnan(exact)) << x[i];
      if (std::isnan(exact)) continue;
      if (exact > 0x1.ffffffp127) {  // rounds to infinity
        ASSERT_TRUE(std::isinf(y[i]) || x[i] < 88.7229f) << x[i];
        continue;
      }
      const double error = std::abs(y[i] - exact) / (exact > 0 ? ulp_at(exact) : 0x1p-149);
      if (error > worst) worst = error, worst_at = x[i];
    }
  }
  RecordProperty("worst_ulp", std::to_string(worst));
  EXPECT_LE(worst, 1) << "at " << worst_at;
}

TEST(VectorExp, Limits) {
  TestContext tc;
  const auto& table = cpu::ops_table(tc.ctx.isa).activation;
  const float inf = INFINITY;
  const std::vector<float> x = {0, -0.0f, inf, -inf, 88.722f, 88.73f, 1e30f, -103.9f, -104, -1e30f};
  std::vector<float> y(x.size());
  table.exp(x.data(), y.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i)
    EXPECT_FLOAT_EQ(y[i], static_cast<float>(std::exp(static_cast<double>(x[i])))) << x[i];
}

struct Shape {
  int64_t t, f;
};
constexpr Shape kShapes[] = {{1, 1}, {3, 7}, {4, 64}, {2, 130}, {9, 1408}};

// silu·u: exp 1 ulp (2 roundings), sum, division, product: 5 roundings and the store.
TEST(Swiglu, ForwardMatchesDefinition) {
  TestContext tc;
  for (const auto [t, f] : kShapes)
    for (const DType tx : kFloatTypes)
      for (const DType ty : kFloatTypes) {
        const Padded x(tx, t, 2 * f, 6, 1, 4), y(ty, t, f, 4, 2);
        swiglu_forward(tc.ctx, x.view, y.view);
        expect_values(y.view, ref::swiglu(values(x.view), f), 1e-30,
                      7 * kRoundF32 + rounding_of(ty));
      }
}

// dg = dy·u·σ·(1 + g·(1 − σ)): 1 − σ has an absolute error of 6 roundings, times |g| <= max|g|;
// the other factors are at most max|dy|·max|u|.
TEST(Swiglu, BackwardMatchesDefinition) {
  TestContext tc;
  for (const auto [t, f] : kShapes)
    for (const DType tx : kFloatTypes)
      for (const DType tdy : kFloatTypes)
        for (const DType tdx : kFloatTypes) {
          const Padded x(tx, t, 2 * f, 2, 1, 4), dy(tdy, t, f, 4, 2), dx(tdx, t, 2 * f, 8, 3);
          swiglu_backward(tc.ctx, x.view, dy.view, dx.view);
          const Values vx = values(x.view), vdy = values(dy.view);
          const double scale = max_abs(vdy) * std::max(1.0, max_abs(vx));
          expect_values(dx.view, ref::swiglu_backward(vx, vdy, f),
                        8 * kRoundF32 * scale * (1 + max_abs(vx)), rounding_of(tdx));
        }
}

TEST(Swiglu, ExtremesAndNan) {
  TestContext tc;
  const Tensor x(DType::kF32, {1, 12}), y(DType::kF32, {1, 6});
  const float gates[] = {NAN, INFINITY, -INFINITY, 1e30f, -1e30f, -90};
  for (int i = 0; i < 6; ++i) x.as<float>()[i] = gates[i], x.as<float>()[6 + i] = 1;
  swiglu_forward(tc.ctx, x, y);
  // e^90 overflows in FP32: the true −90·e^-90 ≈ −7e-38 becomes −0.
  expect_values(y, ref::swiglu(values(x), 6), 1e-37, 1e-6);
}

TEST(Swiglu, SameBitsForAnyTeam) {
  const int64_t t = 65, f = 1001;
  const Tensor x = random_tensor(DType::kF32, {t, 2 * f}, 1),
               dy = random_tensor(DType::kBF16, {t, f}, 2);
  expect_same_for_threads([&](Context& ctx) {
    const Tensor y(DType::kBF16, {t, f});
    swiglu_forward(ctx, x, y);
    return bits(y);
  });
  expect_same_for_threads([&](Context& ctx) {
    const Tensor dx(DType::kF32, {t, 2 * f});
    swiglu_backward(ctx, x, dy, dx);
    return bits(dx);
  });
}

TEST(Swiglu, DefinitionAgreesWithFiniteDifferences) {
  const int64_t t = 2, f = 3;
  const Values x = random_values(2 * t * f, 1), dy = random_values(t * f, 2);
  expect_gradient(x, ref::swiglu_backward(x, dy, f),
                  [&](const Values& v) { return dot(ref::swiglu(v, f), dy); });
}

}  // namespace
}  // namespace fathom
