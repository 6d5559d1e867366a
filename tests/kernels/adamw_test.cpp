#include "kernels/adamw.h"

#include "kernels/elementwise.h"
#include "ops_test.h"

namespace fathom {
namespace {

using namespace kernels;

constexpr AdamWStep kStep{.lr = 3e-3,
                          .beta1 = 0.9,
                          .beta2 = 0.95,
                          .eps = 1e-8,
                          .weight_decay = 0.1,
                          .grad_scale = 0.7,
                          .step = 1};

struct State {
  State(int64_t n, DType moments)
      : w(random_tensor(DType::kF32, {n}, 1)), m(moments, {n}), v(moments, {n}) {}
  ref::AdamWState exact() const { return {values(w), values(m), values(v)}; }
  Tensor w, m, v;
};

// The definition is applied to the kernel's own state before each step, so that only one step's
// rounding is compared. m: 3 roundings of terms of at most |m| + |g|. v: 4, all terms positive.
// The update lr·m̂/(√v̂ + ε) has m's error amplified as 1/√v̂, and at most 8 roundings more; |w| one
// for the decay and one for the sum.
void expect_steps_match(DType moments, int64_t n, int steps) {
  TestContext tc;
  State state(n, moments);
  AdamWStep step = kStep;
  for (step.step = 1; step.step <= steps; ++step.step) {
    const Tensor g = random_tensor(DType::kF32, {n}, 100 + static_cast<uint64_t>(step.step));
    const ref::AdamWState before = state.exact();
    const Values vg = values(g);
    const ref::AdamWState expected = ref::adamw(step, before, vg);
    adamw(tc.ctx, step, state.w, g, state.m, state.v);

    const double m_error = 3 * kRoundF32 * (max_abs(before.m) + max_abs(vg));
    const double rounding = moments == DType::kBF16 ? kRoundBF16 : 0;
    expect_values(state.m, expected.m, m_error, rounding);
    expect_values(state.v, expected.v, 1e-38, 4 * kRoundF32 + rounding);
    double worst = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double root = std::sqrt(expected.v[i] / (1 - std::pow(step.beta2, step.step)));
      const double c1 = 1 - std::pow(step.beta1, step.step);
      const double m_i = std::abs(expected.m[i]);
      const double i_error = 3 * kRoundF32 * (std::abs(before.m[i]) + std::abs(vg[i]));
      const double update = step.lr / c1 * (m_i * 8 * kRoundF32 + i_error) / (root + step.eps);
      const double allowed = update + 3 * kRoundF32 * std::abs(before.w[i]);
      worst = std::max(worst, std::abs(element(state.w, i) - expected.w[i]) / allowed);
    }
    EXPECT_LE(worst, 1) << "step " << step.step;
  }
}

TEST(AdamW, MatchesDefinition) {
  for (const int64_t n : {1, 15, 64, 1003, 9001}) expect_steps_match(DType::kF32, n, 5);
}

TEST(AdamW, MatchesDefinitionWithBf16Moments) {
  for (const int64_t n : {1, 17, 1003}) expect_steps_match(DType::kBF16, n, 5);
}

// torch.optim.AdamW, float32 on CPU: one parameter [0.5, -1.25, 2], gradients [0.1, -0.2, 0.3] then
// [-0.3, 0.05, 1e-4], lr 0.01, betas (0.9, 0.95), eps 1e-8, weight decay 0.1.
TEST(AdamW, MatchesPyTorch) {
  TestContext tc;
  const Tensor w(DType::kF32, {3}), g(DType::kF32, {3}), m(DType::kF32, {3}), v(DType::kF32, {3});
  const float start[] = {0.5f, -1.25f, 2},
              grads[2][3] = {{0.1f, -0.2f, 0.3f}, {-0.3f, 0.05f, 1e-4f}};
  const float expected[2][3] = {{0.489500016f, -1.23874998f, 1.98800004f},
                                {0.493903458f, -1.23276365f, 1.97922313f}};
  std::copy_n(start, 3, w.as<float>());
  AdamWStep step{.lr = 0.01, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1};
  for (step.step = 1; step.step <= 2; ++step.step) {
    std::copy_n(grads[step.step - 1], 3, g.as<float>());
    adamw(tc.ctx, step, w, g, m, v);
    for (int i = 0; i < 3; ++i)
      EXPECT_NEAR(w.as<float>()[i], expected[step.step - 1][i], 2 * kRoundF32 * 2) << step.step;
  }
}

TEST(AdamW, ZeroGradientOnlyDecays) {
  TestContext tc;
  State state(10, DType::kF32);
  const Values before = values(state.w);
  AdamWStep step = kStep;
  step.grad_scale = 0;
  adamw(tc.ctx, step, state.w, random_tensor(DType::kF32, {10}, 2), state.m, state.v);
  Values expected;
  for (const double w : before) expected.push_back(w * (1 - step.lr * step.weight_decay));
  expect_values(state.w, expected, 0, 2 * kRoundF32);
}

TEST(AdamW, NanStaysWhereItIs) {
  TestContext tc;
  State state(40, DType::kBF16);
  const Tensor g = random_tensor(DType::kF32, {40}, 2);
  g.as<float>()[39] = NAN;
  adamw(tc.ctx, kStep, state.w, g, state.m, state.v);
  for (const TensorView& x : {state.w.view(), state.m.view(), state.v.view()})
    for (int64_t i = 0; i < 40; ++i) EXPECT_EQ(std::isnan(element(x, i)), i == 39);
}

TEST(AdamW, SameBitsForAnyTeam) {
  const int64_t n = 30011;
  const Tensor g = random_tensor(DType::kF32, {n}, 2);
  for (const DType moments : kFloatTypes)
    expect_same_for_threads([&](Context& ctx) {
      State state(n, moments);
      adamw(ctx, kStep, state.w, g, state.m, state.v);
      return bits(state.w);
    });
}

// Two products and a sum.
TEST(Ema, MatchesDefinition) {
  TestContext tc;
  for (const int64_t n : {1, 100, 20001})
    for (const DType type : kFloatTypes) {
      const Tensor w = random_tensor(DType::kF32, {n}, 1), average = random_tensor(type, {n}, 2);
      Values expected = values(average);
      const Values vw = values(w);
      const double decay = 0.99f;
      for (int64_t i = 0; i < n; ++i) expected[i] = decay * expected[i] + (1 - decay) * vw[i];
      ema_update(tc.ctx, 0.99f, w, average);
      expect_values(average, expected, 3 * kRoundF32 * 5, type == DType::kBF16 ? kRoundBF16 : 0);
    }
}

}  // namespace
}  // namespace fathom
