// The whole model against PyTorch: logits, losses and the gradient of every parameter of each
// architecture variant under tests/fixtures/model. The tolerances are those of its README: the
// expected values are exact to FP32 rounding, and FP32 sums of some hundred terms through at most
// six layers stay within 2e-5 (logits) and 1e-4 (gradients) of them.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "infer/infer_test.h"
#include "model_cases.h"
#include "train/objective.h"

namespace fathom {
namespace {

constexpr double kLogitTolerance = 2e-5, kGradientTolerance = 1e-4, kLossTolerance = 1e-6;
constexpr double kMtpLambda = 0.3, kBalanceAlpha = 0.01;

using Gradients = std::map<std::string, std::vector<float>>;

class Golden : public testing::TestWithParam<std::string> {
 protected:
  /// Gradients and losses of one pass over the case's tokens.
  Gradients gradients(double mtp_lambda, double balance_alpha) {
    for_each_parameter(golden_.config(), golden_.weights(), [](auto&, Parameter& p) {
      if (p.grad) std::fill_n(p.grad.as<float>(), p.grad.elements(), 0.0f);
    });
    Context ctx{Device{}, pool_, arena_};
    losses_ = train::sequence_forward_backward(ctx, golden_.model(), golden_.ids(),
                                               GemmPrecision::kF32, mtp_lambda, balance_alpha);
    Gradients g;
    for_each_parameter(golden_.config(), golden_.weights(), [&](const auto& info, Parameter& p) {
      if (p.grad) g.emplace(info.name, values(p.grad));
    });
    return g;
  }

  void expect_gradients(const std::string& prefix, const Gradients& actual) {
    const std::vector<std::string> names = golden_.expected_names(prefix);
    double squares = 0, count = 0;
    for (const std::string& name : names)
      for (const float x : golden_.expected(prefix + name)) squares += double{x} * x, ++count;
    const double floor = 1e-3 * std::sqrt(squares / count);
    for (const std::string& name : names) {
      const std::vector<float> b = golden_.expected(prefix + name);
      ASSERT_TRUE(actual.count(name)) << name;
      EXPECT_LE(distance(actual.at(name), b),
                kGradientTolerance * std::max(norm(b), floor_of(b, floor)))
          << prefix << name;
    }
  }

  static double floor_of(const std::vector<float>& b, double floor) {
    return floor * std::sqrt(static_cast<double>(b.size()));
  }
  static double norm(const std::vector<float>& b) {
    return distance(b, std::vector<float>(b.size()));
  }
  static double distance(const std::vector<float>& a, const std::vector<float>& b) {
    EXPECT_EQ(a.size(), b.size());
    double squares = 0;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
      squares += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    return std::sqrt(squares);
  }
  double expected_scalar(const std::string& name) const { return golden_.expected(name).at(0); }
  static std::string depth_name(const std::string& name, size_t depth) {
    return depth == 1 ? name : name + "." + std::to_string(depth);
  }

  GoldenModel golden_{GetParam()};
  ThreadPool pool_{2};
  Arena arena_;
  train::ObjectiveLosses losses_;
};

TEST_P(Golden, LogitsAndMtpLogits) {
  const FullLogits actual(golden_.model(), pool_, GemmPrecision::kF32, golden_.ids());
  EXPECT_LE(relative_error(actual.depths[0], golden_.expected("logits")), kLogitTolerance);
  ASSERT_EQ(actual.depths.size(), 1 + golden_.model().mtp().size());
  for (size_t k = 1; k < actual.depths.size(); ++k)
    EXPECT_LE(relative_error(actual.depths[k], golden_.expected(depth_name("mtp_logits", k))),
              kLogitTolerance)
        << "depth " << k;
}

TEST_P(Golden, GradientsOfTheMainLoss) {
  const Gradients g = gradients(0, 0);
  const auto targets = static_cast<double>(golden_.ids().size() - 1);
  EXPECT_NEAR(losses_.main / targets, expected_scalar("loss"),
              kLossTolerance * expected_scalar("loss"));
  expect_gradients("grad.", g);
}

TEST_P(Golden, MainLossLeavesMtpModulesAlone) {
  const Gradients g = gradients(0, 0);
  for (const auto& [name, values] : g) {
    if (!golden_.expects("grad." + name)) {
      EXPECT_EQ(norm(values), 0) << name;
    }
  }
}

TEST_P(Golden, GradientsWithMtp) {
  if (!golden_.expects("total_loss")) GTEST_SKIP() << "no MTP module";
  const Gradients g = gradients(kMtpLambda, 0);
  double sum = 0;  // the fixture has means over each depth's targets
  for (size_t k = 1; k <= golden_.model().mtp().size(); ++k)
    sum += expected_scalar(depth_name("mtp_loss", k)) *
           static_cast<double>(golden_.ids().size() - k - 1);
  EXPECT_NEAR(losses_.mtp, sum, kLossTolerance * sum);
  expect_gradients("mtp_grad.", g);
}

TEST_P(Golden, BalanceLoss) {
  if (!golden_.expects("balance_loss")) GTEST_SKIP() << "no mixture layer";
  const Gradients g = gradients(0, kBalanceAlpha);
  EXPECT_NEAR(losses_.balance, expected_scalar("balance_loss"),
              kLossTolerance * expected_scalar("balance_loss"));
  expect_gradients("balance_grad.", g);
}

// Which experts each token of each layer chose, [layer][T·K].
std::vector<std::vector<int32_t>> choices(const Transformer& model, ThreadPool& pool,
                                          GemmPrecision precision,
                                          const std::vector<int32_t>& ids) {
  Arena arena;
  Context ctx{Device{}, pool, arena};
  const TokenRange all(0, static_cast<int64_t>(ids.size()));
  TransformerSaved saved;
  model.forward(all.pass(ctx, precision), ids, {}, saved);
  std::vector<std::vector<int32_t>> chosen;
  for (const BlockSaved& block : saved.layers) {
    const TensorView& e = block.moe.expert_TK;
    if (e) chosen.emplace_back(e.as<int32_t>(), e.as<int32_t>() + e.elements());
  }
  return chosen;
}

// The tokens before the first that BF16 routed to other experts than FP32 did. Attention is
// causal: their logits do not depend on later ones.
size_t tokens_routed_alike(const Transformer& model, ThreadPool& pool,
                           const std::vector<int32_t>& ids) {
  const auto a = choices(model, pool, GemmPrecision::kF32, ids);
  const auto b = choices(model, pool, GemmPrecision::kBF16, ids);
  const auto top_k = static_cast<size_t>(model.config().num_experts_per_tok);
  size_t alike = ids.size();
  for (size_t l = 0; l < a.size(); ++l) {
    const auto differ = std::mismatch(a[l].begin(), a[l].end(), b[l].begin()).first;
    if (differ != a[l].end())
      alike = std::min(alike, static_cast<size_t>(differ - a[l].begin()) / top_k);
  }
  return alike;
}

TEST_P(Golden, Bf16LogitsAreNear) {
  const size_t tokens = tokens_routed_alike(golden_.model(), pool_, golden_.ids());
  if (tokens == 0) GTEST_SKIP() << "BF16 routes the first token to other experts";
  const FullLogits actual(golden_.model(), pool_, GemmPrecision::kBF16, golden_.ids());
  std::vector<float> a = actual.depths[0], b = golden_.expected("logits");
  const size_t compared = tokens * static_cast<size_t>(golden_.config().vocab_size);
  a.resize(compared), b.resize(compared);
  RecordProperty("tokens", std::to_string(tokens));
  EXPECT_LE(relative_error(a, b), 2e-2) << tokens << " of " << golden_.ids().size() << " tokens";
}

TEST_P(Golden, SameBitsOnOneThreadAndTwo) {
  ThreadPool one(1);
  for (const GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16}) {
    const FullLogits a(golden_.model(), one, precision, golden_.ids());
    const FullLogits b(golden_.model(), pool_, precision, golden_.ids());
    EXPECT_EQ(a.depths, b.depths);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Golden, testing::ValuesIn(GoldenModel::names()),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name)
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           return name;
                         });

}  // namespace
}  // namespace fathom
