#include "kernels/swiglu.h"

#include "kernels/cpu/ops_table.h"
#include "quantized_test.h"

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

TEST(VectorSigmoid, IsWithinItsBoundEverywhere) {
  TestContext tc;
  const auto& table = cpu::ops_table(tc.ctx.isa).activation;
  constexpr int64_t kBlock = 4096;
  std::vector<float> x(kBlock), y(kBlock);
  double worst = 0;
  float worst_at = 0;
  for (uint64_t first = 0; first < uint64_t{1} << 32; first += kBlock * kStep) {
    for (int64_t i = 0; i < kBlock; ++i)
      x[i] = std::bit_cast<float>(static_cast<uint32_t>(first + i * kStep));
    table.sigmoid(x.data(), y.data(), kBlock);
    for (int64_t i = 0; i < kBlock; ++i) {
      ASSERT_EQ(std::isnan(y[i]), std::isnan(x[i])) << x[i];
      if (std::isnan(x[i])) continue;
      const double exact = 1 / (1 + std::exp(-std::max<double>(x[i], -87)));
      const double error = std::abs(y[i] - exact) / ulp_at(exact);
      if (error > worst) worst = error, worst_at = x[i];
    }
  }
  RecordProperty("worst_ulp", std::to_string(worst));
  EXPECT_LE(worst, 3) << "at " << worst_at;
}

struct Shape {
  int64_t t, f;
};
constexpr Shape kShapes[] = {{1, 1}, {3, 7}, {4, 64}, {2, 130}, {9, 1408}};

// silu·u: σ within 3 units in the last place (6 roundings at most), two products, and the store.
TEST(Swiglu, ForwardMatchesDefinition) {
  TestContext tc;
  for (const auto [t, f] : kShapes)
    for (const DType tx : kFloatTypes)
      for (const DType ty : kFloatTypes) {
        const Padded x(tx, t, 2 * f, 6, 1, 4), y(ty, t, f, 4, 2);
        swiglu_forward(tc.ctx, x.view, y.view);
        expect_values(y.view, ref::swiglu(values(x.view), f), 1e-30,
                      8 * kRoundF32 + rounding_of(ty));
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
  const float gates[] = {NAN, INFINITY, -INFINITY, -88, -1e30f, -90};
  for (int i = 0; i < 6; ++i) x.as<float>()[i] = gates[i], x.as<float>()[6 + i] = 1;
  swiglu_forward(tc.ctx, x, y);
  // Gates below −87 count as −87, whose silu is −1.4e-36; the limit at −∞ is 0.
  EXPECT_TRUE(std::isnan(y.as<float>()[0]));
  EXPECT_EQ(y.as<float>()[1], INFINITY);
  for (int i = 2; i < 6; ++i) EXPECT_NEAR(y.as<float>()[i], 0, 1.5e-36) << gates[i];
}

/// Everything the fused forms take and give, for one shape.
struct Fused {
  Fused(int64_t t, int64_t f, DType type)
      : gate_up(random_tensor(type, {t, 2 * f}, 1, 4)),
        dy(random_tensor(type, {t, f}, 2)),
        weight(random_tensor(DType::kF32, {t}, 3)),
        y(type, {t, f}),
        dgate_up(type, {t, 2 * f}),
        act(type, {t, f}),
        dweight(DType::kF32, {t}),
        y_q(t, f, kTile1x128),
        dgate_up_q(t, 2 * f, kTile1x128) {}
  Tensor gate_up, dy, weight, y, dgate_up, act, dweight;
  QuantizedStorage y_q, dgate_up_q;
};

constexpr ScaleFormat kPower = ScaleFormat::kPowerOfTwo;

/// Each row of x times its weight.
Values weighted(Values x, const Values& weight_T) {
  const size_t cols = x.size() / weight_T.size();
  for (size_t i = 0; i < x.size(); ++i) x[i] *= weight_T[i / cols];
  return x;
}

TEST(Swiglu, WeightMultipliesEachRow) {
  TestContext tc;
  for (const auto [t, f] : kShapes)
    for (const DType type : kFloatTypes) {
      const Fused s(t, f, type);
      swiglu_forward(tc.ctx, s.gate_up, s.weight, s.y, {});
      expect_values(s.y, weighted(ref::swiglu(values(s.gate_up), f), values(s.weight)), 1e-30,
                    9 * kRoundF32 + rounding_of(type));
    }
}

TEST(Swiglu, QuantizedOutputIsThatOfTheF32Output) {
  TestContext tc;
  for (const auto [t, f] : kShapes)
    for (const DType type : kFloatTypes) {
      const Fused s(t, f, type), alone(t, f, type);
      const Tensor y(DType::kF32, {t, f});
      swiglu_forward(tc.ctx, s.gate_up, s.weight, y, {});
      swiglu_forward(tc.ctx, s.gate_up, s.weight, s.y, {s.y_q.view, kPower});
      swiglu_forward(tc.ctx, s.gate_up, s.weight, {}, {alone.y_q.view, kPower});
      expect_equal(contents(s.y_q.view), ref::quantize(values(y), f, kTile1x128, kPower));
      expect_equal(contents(alone.y_q.view), contents(s.y_q.view));
      const Tensor plain(type, {t, f});
      swiglu_forward(tc.ctx, s.gate_up, s.weight, plain, {});
      EXPECT_EQ(bits(s.y), bits(plain));
    }
}

TEST(Swiglu, TakesItsInputQuantized) {
  TestContext tc;
  for (const int64_t f : {16, 192, 1408}) {
    const int64_t t = 5;
    const Fused s(t, f, DType::kF32), expected(t, f, DType::kF32);
    const QuantizedStorage cached(t, 2 * f, kTile1x128);
    quantize(tc.ctx, s.gate_up, cached.view, ScaleFormat::kF32);
    dequantize(tc.ctx, cached.view, expected.gate_up);
    swiglu_forward(tc.ctx, cached.view, s.weight, s.y, {});
    swiglu_forward(tc.ctx, expected.gate_up, s.weight, expected.y, {});
    EXPECT_EQ(bits(s.y), bits(expected.y));
    swiglu_backward(tc.ctx, cached.view, s.weight, s.dy, {s.dgate_up, {}, s.act, s.dweight});
    swiglu_backward(tc.ctx, expected.gate_up, s.weight, s.dy,
                    {expected.dgate_up, {}, expected.act, expected.dweight});
    EXPECT_EQ(bits(s.dgate_up), bits(expected.dgate_up));
    EXPECT_EQ(bits(s.act), bits(expected.act));
    EXPECT_EQ(bits(s.dweight), bits(expected.dweight));
  }
}

TEST(Swiglu, BackwardRecomputesTheForwardOutput) {
  TestContext tc;
  for (const auto [t, f] : kShapes)
    for (const DType type : kFloatTypes) {
      const Fused s(t, f, type);
      swiglu_forward(tc.ctx, s.gate_up, s.weight, s.y, {});
      swiglu_backward(tc.ctx, s.gate_up, s.weight, s.dy, {s.dgate_up, {}, s.act, {}});
      EXPECT_EQ(bits(s.act), bits(s.y));
    }
}

// dweight: F products of six roundings each, in sums of F/4 terms at most.
TEST(Swiglu, BackwardWithWeightsMatchesDefinition) {
  TestContext tc;
  for (const auto [t, f] : kShapes)
    for (const DType type : kFloatTypes) {
      const Fused s(t, f, type);
      swiglu_backward(tc.ctx, s.gate_up, s.weight, s.dy, {s.dgate_up, {}, {}, s.dweight});
      const Values x = values(s.gate_up), dy = values(s.dy), weight = values(s.weight);
      const double scale = max_abs(dy) * max_abs(weight) * std::max(1.0, max_abs(x));
      expect_values(s.dgate_up, ref::swiglu_backward(x, weighted(dy, weight), f),
                    9 * kRoundF32 * scale * (1 + max_abs(x)), rounding_of(type));
      const Values y = ref::swiglu(x, f);
      Values dweight(static_cast<size_t>(t));
      for (size_t i = 0; i < y.size(); ++i) dweight[i / f] += dy[i] * y[i];
      const double terms = static_cast<double>(f);
      expect_values(s.dweight, dweight,
                    (terms / 4 + 16) * kRoundF32 * terms * max_abs(dy) * max_abs(y), 0);
    }
}

TEST(Swiglu, BackwardQuantizesItsF32Result) {
  TestContext tc;
  for (const auto [t, f] : kShapes) {
    const Fused s(t, f, DType::kF32), alone(t, f, DType::kF32);
    swiglu_backward(tc.ctx, s.gate_up, s.weight, s.dy,
                    {s.dgate_up, {s.dgate_up_q.view, kPower}, {}, {}});
    swiglu_backward(tc.ctx, s.gate_up, s.weight, s.dy,
                    {{}, {alone.dgate_up_q.view, kPower}, {}, {}});
    expect_equal(contents(s.dgate_up_q.view),
                 ref::quantize(values(s.dgate_up), 2 * f, kTile1x128, kPower));
    expect_equal(contents(alone.dgate_up_q.view), contents(s.dgate_up_q.view));
  }
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
