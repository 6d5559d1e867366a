#include "kernels/permute.h"

#include <algorithm>

#include "quantized_test.h"

namespace fathom {
namespace {

using namespace kernels;

/// K different experts for each of T tokens; expert 1 is never chosen.
Tensor random_choice(int64_t t, int64_t k, int64_t experts, uint64_t seed) {
  Tensor out(DType::kI32, {t, k});
  for (int64_t i = 0; i < t; ++i) {
    const int64_t start = static_cast<int64_t>(Philox(seed).below(i, experts));
    for (int64_t c = 0, e = start; c < k; ++e)
      if (e % experts != 1) out.as<int32_t>()[i * k + c++] = static_cast<int32_t>(e % experts);
  }
  return out;
}

struct Case {
  int64_t t, k, experts, d;
};
constexpr Case kCases[] = {{1, 1, 3, 5}, {7, 2, 4, 64}, {50, 6, 64, 33}, {300, 8, 16, 130}};

TEST(Permute, PlanSortsByExpertThenToken) {
  for (const auto [t, k, experts, d] : kCases) {
    TestContext tc;
    const Tensor choice = random_choice(t, k, experts, 1);
    const ExpertPlan plan = plan_experts(tc.ctx, choice, experts);
    const auto* offset = plan.offset_E1.as<int64_t>();
    EXPECT_EQ(offset[0], 0);
    EXPECT_EQ(offset[experts], t * k);
    EXPECT_EQ(offset[1], offset[2]);  // expert 1 is empty
    for (int64_t e = 0; e < experts; ++e)
      for (int64_t s = offset[e]; s + 1 < offset[e + 1]; ++s)
        EXPECT_LT(plan.token_S.as<int32_t>()[s], plan.token_S.as<int32_t>()[s + 1]);
    for (int64_t i = 0; i < t * k; ++i) {
      const int32_t slot = plan.slot_TK.as<int32_t>()[i], e = choice.as<int32_t>()[i];
      EXPECT_TRUE(slot >= offset[e] && slot < offset[e + 1]);
      EXPECT_EQ(plan.token_S.as<int32_t>()[slot], i / k);
    }
  }
}

TEST(Permute, CopiesRowsToSlots) {
  TestContext tc;
  for (const auto [t, k, experts, d] : kCases)
    for (const DType tx : kFloatTypes)
      for (const DType ty : kFloatTypes) {
        const ExpertPlan plan = plan_experts(tc.ctx, random_choice(t, k, experts, 1), experts);
        const Padded x(tx, t, d, 2, 1), y(ty, t * k, d, 4, 2);
        permute(tc.ctx, plan, x.view, y.view);
        const Values vx = values(x.view);
        Values expected;
        for (int64_t s = 0; s < t * k; ++s) {
          const double* row = &vx[plan.token_S.as<int32_t>()[s] * d];
          expected.insert(expected.end(), row, row + d);
        }
        expect_values(y.view, expected, 0, tx == ty ? 0 : rounding_of(ty));
      }
}

// K products and additions to a sum at most (K·max|w| + 1)·max|y| large.
TEST(Permute, UnpermuteMatchesDefinition) {
  TestContext tc;
  for (const auto [t, k, experts, d] : kCases)
    for (const DType type : kFloatTypes)
      for (const bool weighted : {false, true}) {
        const ExpertPlan plan = plan_experts(tc.ctx, random_choice(t, k, experts, 1), experts);
        const Padded y(type, t * k, d, 2, 1), out(DType::kF32, t, d, 4, 2);
        const Tensor weight = random_tensor(DType::kF32, {t, k}, 3);
        const Values vw = weighted ? values(weight) : Values(t * k, 1.0);
        const Values before = values(out.view);
        Values expected =
            ref::unpermute(values(y.view), {plan.slot_TK.as<int32_t>(), size_t(t * k)}, vw, t);
        for (size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];
        unpermute(tc.ctx, plan, y.view, weighted ? weight.view() : TensorView{}, out.view);
        const double n = static_cast<double>(k);
        const double scale = max_abs(before) + n * max_abs(vw) * max_abs(values(y.view));
        expect_values(out.view, expected, (n + 1) * kRoundF32 * scale, 0);
      }
}

TEST(Permute, CopiesQuantizedRowsWithTheirScales) {
  TestContext tc;
  for (const auto [t, k, experts, d] : kCases) {
    const ExpertPlan plan = plan_experts(tc.ctx, random_choice(t, k, experts, 1), experts);
    const Tensor x = random_tensor(DType::kF32, {t, d}, 1), plain(DType::kF32, {t, d});
    const QuantizedStorage from(t, d, kTile1x128), to(t * k, d, kTile1x128);
    const Tensor expected(DType::kF32, {t * k, d}), actual(DType::kF32, {t * k, d});
    quantize(tc.ctx, x, from.view, ScaleFormat::kF32);
    dequantize(tc.ctx, from.view, plain);
    permute(tc.ctx, plan, plain, expected);
    permute(tc.ctx, plan, from.view, to.view);
    dequantize(tc.ctx, to.view, actual);
    EXPECT_EQ(bits(actual), bits(expected));
  }
}

TEST(Permute, NumbersOfChoicesGoToTheirSlotsAndBack) {
  TestContext tc;
  for (const auto [t, k, experts, d] : kCases) {
    const ExpertPlan plan = plan_experts(tc.ctx, random_choice(t, k, experts, 1), experts);
    const Tensor x = random_tensor(DType::kF32, {t, k}, 1), y(DType::kF32, {t * k});
    const Tensor back(DType::kF32, {t, k});
    permute_choices(tc.ctx, plan, x, y);
    for (int64_t i = 0; i < t * k; ++i)
      EXPECT_EQ(y.as<float>()[plan.slot_TK.as<int32_t>()[i]], x.as<float>()[i]);
    unpermute_choices(tc.ctx, plan, y, back);
    EXPECT_EQ(bits(back), bits(x));
  }
}

TEST(Permute, SameBitsForAnyTeam) {
  const int64_t t = 120, k = 4, d = 300, experts = 8;
  const Tensor choice = random_choice(t, k, experts, 1), x = random_tensor(DType::kF32, {t, d}, 2);
  const Tensor weight = random_tensor(DType::kF32, {t, k}, 3);
  expect_same_for_threads([&](Context& ctx) {
    const ExpertPlan plan = plan_experts(ctx, choice, experts);
    const Tensor y(DType::kF32, {t * k, d}), out(DType::kF32, {t, d});
    permute(ctx, plan, x, y);
    unpermute(ctx, plan, y, weight, out);
    return bits(out);
  });
}

// unpermute's gradients, by finite differences of the definition.
TEST(Permute, DefinitionAgreesWithFiniteDifferences) {
  const int64_t t = 2, k = 2, d = 3;
  const std::vector<int32_t> slot = {2, 0, 1, 3};
  const Values y = random_values(t * k * d, 1), w = random_values(t * k, 2);
  const Values dout = random_values(t * d, 3);
  Values dy(y.size()), dw(w.size());
  for (int64_t i = 0; i < t * k; ++i)
    for (int64_t c = 0; c < d; ++c) {
      dy[slot[i] * d + c] = w[i] * dout[i / k * d + c];
      dw[i] += dout[i / k * d + c] * y[slot[i] * d + c];
    }
  expect_gradient(y, dy, [&](const Values& v) { return dot(ref::unpermute(v, slot, w, t), dout); });
  expect_gradient(w, dw, [&](const Values& v) { return dot(ref::unpermute(y, slot, v, t), dout); });
}

}  // namespace
}  // namespace fathom
