#include "kernels/gating.h"

#include <numeric>

#include "kernels/ref/gating.h"
#include "ops_test.h"

namespace fathom {
namespace {

using namespace kernels;

/// The published gates and small odd ones.
std::vector<GateConfig> configs() {
  using enum GateScoring;
  using enum GateSelection;
  return {{256, 8, 8, 4, kSigmoid, kGroupTop2, true, 2.5f},   // V3
          {160, 6, 8, 3, kSoftmax, kGroupMax, false, 16.0f},  // V2
          {64, 6, 1, 1, kSoftmax, kGreedy, false, 1.0f},      // V2-Lite
          {64, 6, 1, 1, kSigmoid, kGroupTop2, true, 2.446f},  // Moonlight
          {7, 3, 1, 1, kSigmoid, kGreedy, false, 1.5f},
          {9, 4, 3, 2, kSoftmax, kGroupTop2, true, 1.0f},
          {6, 2, 6, 2, kSigmoid, kGroupTop2, true, 1.0f},  // groups of one
          {1, 1, 1, 1, kSoftmax, kGreedy, true, 1.0f}};
}

struct Gate {
  Gate(const GateConfig& c, int64_t t)
      : scores(DType::kF32, {t, c.experts}),
        expert(DType::kI32, {t, c.top_k}),
        weight(DType::kF32, {t, c.top_k}) {}
  std::span<const int32_t> chosen(int64_t t) const {
    const int64_t k = expert.view().cols();
    return {expert.as<int32_t>() + t * k, static_cast<size_t>(k)};
  }
  Tensor scores, expert, weight;
};

Values row_of(const ConstTensorView& x, int64_t t) {
  return values(x.row_range(t, 1));
}

/// Scores and weights within tolerance, choices exactly those of the definition on these scores.
/// A sigmoid has 5 roundings (exp 1.5 ulp, sum, division), a softmax the error of exp, of the sum
/// (16 roundings cover 384 experts at 4 lanes) and of the division; a weight adds K more.
void expect_gate(const GateConfig& c, const ConstTensorView& logits, const float* bias,
                 const Gate& gate) {
  for (int64_t t = 0; t < logits.rows(); ++t) {
    const Values scores = ref::gate_scores(c.scoring, row_of(logits, t));
    const double error = (c.scoring == GateScoring::kSigmoid ? 5 : 40) * kRoundF32;
    // The argument of exp is rounded when the maximum is subtracted: |x − max| roundings.
    const double argument = c.scoring == GateScoring::kSigmoid ? 0 : 16 * kRoundF32;
    expect_values(gate.scores.view().row_range(t, 1), scores, 0, error + argument);
    std::vector<float> biased(c.experts);
    for (int64_t e = 0; e < c.experts; ++e)
      biased[e] = gate.scores.as<float>()[t * c.experts + e] + (bias ? bias[e] : 0);
    const auto expected = ref::gate_choose(c, biased);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), gate.chosen(t).begin())) << t;
    const double weight_error =
        2 * (error + argument) + (static_cast<double>(c.top_k) + 3) * kRoundF32;
    expect_values(gate.weight.view().row_range(t, 1), ref::gate_weights(c, scores, expected), 0,
                  weight_error);
  }
}

TEST(Gating, ForwardMatchesDefinition) {
  TestContext tc;
  for (const GateConfig& c : configs())
    for (const bool biased : {false, true}) {
      const int64_t t = 40;
      const Padded logits(DType::kF32, t, c.experts, 3, 1, 2);
      const Tensor bias = random_tensor(DType::kF32, {c.experts}, 2, 0.3f);
      const Gate gate(c, t);
      gating_forward(tc.ctx, c, logits.view, biased ? bias.view() : TensorView{}, gate.scores,
                     gate.expert, gate.weight);
      expect_gate(c, logits.view, biased ? bias.as<float>() : nullptr, gate);
    }
}

// Logits from a handful of values: ties everywhere, within and between groups.
TEST(Gating, TiesGoToTheLowestIndex) {
  TestContext tc;
  for (const GateConfig& c : configs()) {
    const int64_t t = 60;
    const Tensor logits(DType::kF32, {t, c.experts});
    for (int64_t i = 0; i < t * c.experts; ++i)
      logits.as<float>()[i] = static_cast<float>(Philox(3).below(i, 3));
    const Gate gate(c, t);
    gating_forward(tc.ctx, c, logits, {}, gate.scores, gate.expert, gate.weight);
    expect_gate(c, logits, nullptr, gate);
  }
  const GateConfig c = {4, 3, 1, 1};
  const Tensor equal(DType::kF32, {1, 4});
  const Gate gate(c, 1);
  gating_forward(tc.ctx, c, equal, {}, gate.scores, gate.expert, gate.weight);
  for (int32_t k = 0; k < 3; ++k) EXPECT_EQ(gate.chosen(0)[k], k);
}

// Rejected groups are at −inf, so that negative biased scores of kept groups still win (spec A.4).
TEST(Gating, NegativeBiasedScoresWinOverRejectedGroups) {
  TestContext tc;
  const GateConfig c = {4, 2, 2, 1, GateScoring::kSigmoid, GateSelection::kGroupTop2};
  const Tensor logits(DType::kF32, {1, 4}), bias(DType::kF32, {4});
  const float b[] = {-2, -9, -0.6f, -9.5f};  // group 0: −10 in all, group 1: −9.1
  std::copy_n(b, 4, bias.as<float>());
  const Gate gate(c, 1);
  gating_forward(tc.ctx, c, logits, bias, gate.scores, gate.expert, gate.weight);
  EXPECT_EQ(gate.chosen(0)[0], 2);
  EXPECT_EQ(gate.chosen(0)[1], 3);
}

TEST(Gating, NanIsChosenAndShows) {
  TestContext tc;
  for (const GateConfig& c : configs()) {
    const int64_t t = 5;
    const Tensor logits = random_tensor(DType::kF32, {t, c.experts}, 1);
    logits.as<float>()[2 * c.experts + c.experts / 2] = NAN;
    for (int64_t e = 0; e < c.experts; ++e) logits.as<float>()[3 * c.experts + e] = NAN;
    const Gate gate(c, t);
    gating_forward(tc.ctx, c, logits, {}, gate.scores, gate.expert, gate.weight);
    for (int64_t i = 0; i < t; ++i) {
      std::vector<bool> seen(c.experts);
      double sum = 0;
      for (int64_t k = 0; k < c.top_k; ++k) {
        const int32_t e = gate.chosen(i)[k];
        ASSERT_TRUE(e >= 0 && e < c.experts && !seen[e]);
        seen[e] = true;
        sum += gate.weight.as<float>()[i * c.top_k + k];
      }
      EXPECT_EQ(std::isnan(sum), i == 2 || i == 3) << i;
    }
  }
}

// Errors relative to the largest terms: every path sums at most E terms, so that (E + 20) roundings
// of the largest product bound it; the definition runs on the kernel's own scores.
TEST(Gating, BackwardMatchesDefinition) {
  TestContext tc;
  for (const GateConfig& c : configs())
    for (const bool balanced : {false, true}) {
      const int64_t t = 20;
      const Tensor logits = random_tensor(DType::kF32, {t, c.experts}, 1, 2);
      const Gate gate(c, t);
      gating_forward(tc.ctx, c, logits, {}, gate.scores, gate.expert, gate.weight);
      const Tensor dweight = random_tensor(DType::kF32, {t, c.top_k}, 2);
      const Padded dnormalized(DType::kF32, t, c.experts, 2, 3),
          dlogits(DType::kF32, t, c.experts, 5, 4);
      gating_backward(tc.ctx, c, gate.scores, gate.expert, dweight,
                      balanced ? dnormalized.view : TensorView{}, dlogits.view);
      for (int64_t i = 0; i < t; ++i) {
        const Values scores = row_of(gate.scores, i), dw = row_of(dweight, i);
        const Values dn = balanced ? row_of(dnormalized.view, i) : Values{};
        double chosen = 0;
        for (const int32_t e : gate.chosen(i)) chosen += scores[e];
        const double sum = std::accumulate(scores.begin(), scores.end(), 0.0);
        const double largest =
            c.scaling_factor * max_abs(dw) / (c.normalize ? chosen : 1) + max_abs(dn) / sum;
        expect_values(
            dlogits.view.row_range(i, 1), ref::gate_backward(c, scores, gate.chosen(i), dw, dn),
            (static_cast<double>(c.experts) + 20) * kRoundF32 * 2 * largest * max_abs(scores),
            1e-6);
      }
    }
}

TEST(Gating, DefinitionAgreesWithFiniteDifferences) {
  for (const GateConfig& c : configs()) {
    const Values logits = random_values(c.experts, 1), dw = random_values(c.top_k, 2);
    const Values dn = random_values(c.experts, 3), scores = ref::gate_scores(c.scoring, logits);
    const auto chosen = ref::gate_choose(c, std::vector<float>(scores.begin(), scores.end()));
    const auto loss = [&](const Values& x) {
      const Values s = ref::gate_scores(c.scoring, x);
      const double sum = std::accumulate(s.begin(), s.end(), 0.0);
      return dot(ref::gate_weights(c, s, chosen), dw) + dot(s, dn) / sum;
    };
    expect_gradient(logits, ref::gate_backward(c, scores, chosen, dw, dn), loss, 1e-6);
  }
}

struct Balance {
  double loss = 0;
  Values gradient;  ///< with respect to s', by the definition's linearity in s'
};

Balance exact_balance(const GateConfig& c, const ConstTensorView& scores, int64_t seq_len,
                      double alpha) {
  const int64_t sequences = scores.rows() / seq_len, e = c.experts;
  GateConfig greedy = c;
  greedy.selection = GateSelection::kGreedy;
  Balance out;
  for (int64_t s = 0; s < sequences; ++s) {
    std::vector<int64_t> count(e);
    Values normalized;
    for (int64_t t = s * seq_len; t < (s + 1) * seq_len; ++t) {
      const Values row = row_of(scores, t);
      const double sum = std::accumulate(row.begin(), row.end(), 0.0);
      for (const double x : row) normalized.push_back(x / sum);
      for (const int32_t i : ref::gate_choose(greedy, std::vector<float>(row.begin(), row.end())))
        ++count[i];
    }
    const double whole = ref::sequence_balance(c, normalized, count, alpha);
    out.loss += whole / static_cast<double>(sequences);
    for (size_t i = 0; i < normalized.size(); ++i) {  // linear: a unit step is the derivative
      normalized[i] += 1;
      const double stepped = ref::sequence_balance(c, normalized, count, alpha);
      out.gradient.push_back((stepped - whole) / static_cast<double>(sequences));
      normalized[i] -= 1;
    }
  }
  return out;
}

// Statistics and loss are FP64 sums rounded once; the gradient has one rounding, and the unit step
// of the check cancels 1 against terms of order 1, in FP64.
TEST(Gating, SequenceBalanceLossMatchesDefinition) {
  TestContext tc;
  for (const GateConfig& c : configs()) {
    const int64_t seq_len = c.experts < 10 ? 300 : 12, t = 3 * seq_len;
    const Tensor logits = random_tensor(DType::kF32, {t, c.experts}, 1, 2);
    const Gate gate(c, t);
    gating_forward(tc.ctx, c, logits, {}, gate.scores, gate.expert, gate.weight);
    const Balance expected = exact_balance(c, gate.scores, seq_len, 0.5);
    const Padded gradient(DType::kF32, t, c.experts, 2, 2);
    EXPECT_NEAR(sequence_balance_loss(tc.ctx, c, gate.scores, seq_len, 0.5f, 1, gradient.view),
                expected.loss, 2 * kRoundF32 * expected.loss);
    expect_values(gradient.view, expected.gradient, 1e-12, 4 * kRoundF32);
    EXPECT_NEAR(sequence_balance_loss(tc.ctx, c, gate.scores, seq_len, 0.5f, 1, {}), expected.loss,
                2 * kRoundF32 * expected.loss);
  }
}

// A perfectly even gate: f_i = P_i·E = 1, so that the loss is α.
TEST(Gating, BalancedLossIsAlpha) {
  TestContext tc;
  const GateConfig c = {4, 1, 1, 1, GateScoring::kSoftmax};
  const Tensor logits(DType::kF32, {4, 4});
  for (int i = 0; i < 4; ++i) logits.as<float>()[i * 5] = 3;
  const Gate gate(c, 4);
  gating_forward(tc.ctx, c, logits, {}, gate.scores, gate.expert, gate.weight);
  EXPECT_NEAR(sequence_balance_loss(tc.ctx, c, gate.scores, 4, 0.25f, 1, {}), 0.25, 1e-6);
}

TEST(Gating, SameBitsForAnyTeam) {
  const GateConfig c = configs()[0];
  const int64_t t = 256;
  const Tensor logits = random_tensor(DType::kF32, {t, c.experts}, 1);
  const Tensor dweight = random_tensor(DType::kF32, {t, c.top_k}, 2);
  expect_same_for_threads([&](Context& ctx) {
    const Gate gate(c, t);
    const Tensor dnormalized(DType::kF32, {t, c.experts}), dlogits(DType::kF32, {t, c.experts});
    gating_forward(ctx, c, logits, {}, gate.scores, gate.expert, gate.weight);
    const float loss = sequence_balance_loss(ctx, c, gate.scores, 32, 1, 1, dnormalized);
    gating_backward(ctx, c, gate.scores, gate.expert, dweight, dnormalized, dlogits);
    auto out = bits(dlogits);
    for (const std::byte b : std::bit_cast<std::array<std::byte, 4>>(loss)) out.push_back(b);
    return out;
  });
}

}  // namespace
}  // namespace fathom
