#include "kernels/cross_entropy.h"

#include "kernels/elementwise.h"
#include "ops_test.h"

namespace fathom {
namespace {

using namespace kernels;

struct Case {
  int64_t t, v, d;
};
constexpr Case kCases[] = {{1, 1, 3}, {5, 17, 8}, {40, 1000, 33}, {530, 300, 24}};

struct Problem {
  Problem(DType type, const Case& c)
      : h(type, c.t, c.d, 4, 1),
        w(type, c.v, c.d, 6, 2),
        dh(type, c.t, c.d, 2, 3),
        loss(DType::kF32, {c.t}),
        dw(random_tensor(DType::kF32, {c.v, c.d}, 4)) {
    for (int64_t i = 0; i < c.t; ++i)
      target.push_back(i % 5 == 3 ? kIgnoreTarget : static_cast<int32_t>(Philox(5).below(i, c.v)));
  }
  Padded h, w, dh;
  Tensor loss, dw;
  std::vector<int32_t> target;
};

/// [T, V] in double.
Values logits_of(const Values& h, const Values& w, const Case& c) {
  Values out(c.t * c.v);
  for (int64_t t = 0; t < c.t; ++t)
    for (int64_t v = 0; v < c.v; ++v)
      for (int64_t i = 0; i < c.d; ++i) out[t * c.v + v] += h[t * c.d + i] * w[v * c.d + i];
  return out;
}

struct Exact {
  Values loss_T, dh_TD, dw_VD;
  double total = 0;
};

Exact exact(const Problem& p, const Case& c, double scale) {
  const Values h = values(p.h.view), w = values(p.w.view);
  const ref::CrossEntropy ce = ref::cross_entropy(logits_of(h, w, c), p.target);
  Exact out{ce.loss_T, Values(c.t * c.d), values(p.dw)};
  for (const double x : ce.loss_T) out.total += x;
  for (int64_t t = 0; t < c.t; ++t)
    for (int64_t v = 0; v < c.v; ++v)
      for (int64_t i = 0; i < c.d; ++i) {
        const double g = scale * ce.dlogits_TV[t * c.v + v];
        out.dh_TD[t * c.d + i] += g * w[v * c.d + i];
        out.dw_VD[v * c.d + i] += g * h[t * c.d + i];
      }
  return out;
}

/// A logit of D products of at most |h||w| has an error of D roundings of `unit`, which is the
/// relative error of a softmax and the absolute error of a loss; the row pass adds 40 roundings (a
/// sum of 4096/16 terms at random, exp, division). The gradients sum V or T such terms, with
/// Σ_v|dlogits| <= 2·scale.
double logit_error(const Problem& p, const Case& c) {
  return static_cast<double>(c.d) * kRoundF32 * max_abs(values(p.h.view)) *
             max_abs(values(p.w.view)) +
         40 * kRoundF32;
}

TEST(HeadLoss, ForwardMatchesDefinition) {
  TestContext tc;
  for (const Case& c : kCases)
    for (const DType type : kFloatTypes) {
      Problem p(type, c);
      const Exact expected = exact(p, c, 1);
      const double error = 2 * logit_error(p, c);
      const double total =
          head_loss_forward(tc.ctx, p.h.view, p.w.view, p.target, p.loss, GemmPrecision::kF32);
      expect_values(p.loss, expected.loss_T, error, kRoundF32);
      EXPECT_NEAR(total, expected.total, static_cast<double>(c.t) * error + 1e-6 * expected.total);
      const double without =
          head_loss_forward(tc.ctx, p.h.view, p.w.view, p.target, {}, GemmPrecision::kF32);
      EXPECT_EQ(total, without);
    }
}

TEST(HeadLoss, BackwardMatchesDefinition) {
  TestContext tc;
  const float scale = 0.37f;
  for (const Case& c : kCases)
    for (const DType type : kFloatTypes)
      for (const GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16}) {
        // In BF16 the FP32 inputs are rounded, which is another problem: only BF16 inputs then.
        const bool bf16 = precision == GemmPrecision::kBF16;
        if (bf16 && type == DType::kF32) continue;
        Problem p(type, c);
        const Exact expected = exact(p, c, scale);
        const Values h = values(p.h.view), w = values(p.w.view), before = values(p.dw);
        const double error = 2 * logit_error(p, c);
        const double loss = head_loss_forward_backward(tc.ctx, p.h.view, p.w.view, p.target, scale,
                                                       p.loss, p.dh.view, p.dw, precision);
        EXPECT_NEAR(loss, expected.total, static_cast<double>(c.t) * error + 1e-6 * expected.total);
        expect_values(p.loss, expected.loss_T, error, kRoundF32);
        // dlogits are rounded to BF16 then; products and sums of V (T) terms follow.
        const double relative =
            error + (bf16 ? kRoundBF16 : 0) + static_cast<double>(std::max(c.v, c.t)) * kRoundF32;
        expect_values(p.dh.view, expected.dh_TD, 2 * scale * max_abs(w) * relative,
                      rounding_of(type));
        expect_values(p.dw, expected.dw_VD,
                      scale * max_abs(h) * static_cast<double>(c.t) * relative +
                          static_cast<double>(c.t) * kRoundF32 * max_abs(before),
                      0);
      }
}

TEST(HeadLoss, IgnoredTokensHaveNoLossAndNoGradient) {
  TestContext tc;
  const Case c = {10, 50, 16};
  Problem p(DType::kF32, c);
  std::fill(p.target.begin(), p.target.end(), kIgnoreTarget);
  const Values dw = values(p.dw);
  EXPECT_EQ(head_loss_forward_backward(tc.ctx, p.h.view, p.w.view, p.target, 1, p.loss, p.dh.view,
                                       p.dw, GemmPrecision::kF32),
            0);
  expect_values(p.loss, Values(c.t), 0, 0);
  expect_values(p.dh.view, Values(c.t * c.d), 0, 0);
  expect_values(p.dw, dw, 0, 0);
}

TEST(HeadLoss, LargeLogitsAndNan) {
  TestContext tc;
  const Case c = {3, 20, 4};
  Problem p(DType::kF32, c);
  p.target = {1, 2, 3};
  for (int64_t i = 0; i < c.d; ++i) {
    set_element(p.h.memory, 2 + i, 1e4f * element(p.h.memory, 2 + i));  // row 0: no overflow
    set_element(p.h.memory, (c.d + 4) * 2 + 2 + i, NAN);                // row 2
  }
  head_loss_forward(tc.ctx, p.h.view, p.w.view, p.target, p.loss, GemmPrecision::kF32);
  EXPECT_TRUE(std::isfinite(p.loss.as<float>()[0]));
  EXPECT_TRUE(std::isfinite(p.loss.as<float>()[1]));
  EXPECT_TRUE(std::isnan(p.loss.as<float>()[2]));
}

// More logits than a chunk holds: the whole equals the sum of its parts, but for the order in which
// dW is summed (T terms) and the products' blocking.
TEST(HeadLoss, ChunksAddUp) {
  TestContext tc;
  const Case c = {520, 16500, 8};
  Problem whole(DType::kF32, c), parts(DType::kF32, c);
  const std::span<const int32_t> target = parts.target;
  const auto run = [&](Problem& p, int64_t begin, int64_t n) {
    return head_loss_forward_backward(tc.ctx, p.h.view.row_range(begin, n), p.w.view,
                                      target.subspan(begin, n), 0.5f,
                                      p.loss.view().row_range(begin, n),
                                      p.dh.view.row_range(begin, n), p.dw, GemmPrecision::kF32);
  };
  const double total = run(whole, 0, c.t);
  EXPECT_NEAR(total, run(parts, 0, 300) + run(parts, 300, 220), 1e-6 * total);
  const double error = 2 * logit_error(whole, c);
  expect_values(whole.loss, values(parts.loss), error, 0);
  expect_values(whole.dh.view, values(parts.dh.view), error * max_abs(values(whole.w.view)), 0);
  const double terms = static_cast<double>(c.t) * max_abs(values(whole.h.view));
  expect_values(whole.dw, values(parts.dw), terms * (error + 520 * kRoundF32), 0);
}

TEST(HeadLoss, SameBitsForAnyTeam) {
  const Case c = {300, 700, 32};
  for (const GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16})
    expect_same_for_threads([&](Context& ctx) {
      Problem p(DType::kBF16, c);
      const Tensor dh(DType::kF32, {c.t, c.d});
      head_loss_forward_backward(ctx, p.h.view, p.w.view, p.target, 1, p.loss, dh, p.dw, precision);
      auto all = bits(dh);
      for (const ConstTensorView& more : {ConstTensorView(p.dw), ConstTensorView(p.loss)})
        for (const std::byte b : bits(more)) all.push_back(b);
      return all;
    });
}

TEST(HeadLoss, DefinitionAgreesWithFiniteDifferences) {
  const std::vector<int32_t> target = {2, kIgnoreTarget, 0};
  const Values logits = random_values(15, 1);
  expect_gradient(logits, ref::cross_entropy(logits, target).dlogits_TV, [&](const Values& x) {
    double sum = 0;
    for (const double loss : ref::cross_entropy(x, target).loss_T) sum += loss;
    return sum;
  });
}

}  // namespace
}  // namespace fathom
