#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "infer/infer_test.h"

namespace fathom::train {
namespace {

constexpr double kLr = 1e-2, kBeta1 = 0.9, kBeta2 = 0.95, kEps = 1e-8, kDecay = 0.1, kEma = 0.8;

// One parameter in double, by the definition (kernels/adamw.h) and PyTorch's clip_grad_norm_.
struct Reference {
  std::vector<double> w, m, v, ema;
  bool decayed = false;

  void step(const std::vector<float>& g, int t, double norm, double clip) {
    const double scale = clip > 0 && norm > clip ? clip / (norm + 1e-6) : 1;
    for (size_t i = 0; i < w.size(); ++i) {
      const double gi = g[i] * scale;
      if (decayed) w[i] -= kLr * kDecay * w[i];
      m[i] = kBeta1 * m[i] + (1 - kBeta1) * gi;
      v[i] = kBeta2 * v[i] + (1 - kBeta2) * gi * gi;
      w[i] -= kLr * (m[i] / (1 - std::pow(kBeta1, t))) /
              (std::sqrt(v[i] / (1 - std::pow(kBeta2, t))) + kEps);
      ema[i] = t == 1 ? w[i] : kEma * ema[i] + (1 - kEma) * w[i];
    }
  }
};

class OptimizerTest : public testing::Test {
 protected:
  OptimizerTest() {
    initialize(config_, storage_.weights, 1);
    for_each_parameter(config_, storage_.weights, [&](const ParameterInfo& info, Parameter& p) {
      const std::vector<float> w = values(p.weight);
      const std::vector<double> zeros(w.size());
      all_.emplace_back(info, p);
      references_.push_back(
          {{w.begin(), w.end()}, zeros, zeros, zeros, info.kind == ParameterKind::kMatrix});
    });
  }

  static OptimizerOptions options(DType moments) {
    return {static_cast<float>(kBeta1),
            static_cast<float>(kBeta2),
            static_cast<float>(kEps),
            static_cast<float>(kDecay),
            moments,
            static_cast<float>(kEma)};
  }

  // Gradients whose norm is that of `size`; the same on both sides.
  double draw_gradients(uint64_t seed, float size) {
    double squares = 0;
    for (size_t p = 0; p < all_.size(); ++p) {
      const TensorView& g = all_[p].second.grad;
      if (!g) continue;
      const Philox random(seed, p);
      for (int64_t i = 0; i < g.elements(); ++i) {
        g.as<float>()[i] = size * random.normal2(static_cast<uint64_t>(i))[0];
        squares += double{g.as<float>()[i]} * g.as<float>()[i];
      }
    }
    return std::sqrt(squares);
  }

  void step(Optimizer& optimizer, int t, float size, double clip) {
    const double norm = draw_gradients(static_cast<uint64_t>(t), size);
    const double measured = optimizer.gradient_norm(ctx_);
    EXPECT_NEAR(measured, norm, 1e-5 * norm);
    optimizer.step(ctx_, static_cast<float>(kLr), measured, static_cast<float>(clip));
    for (size_t p = 0; p < all_.size(); ++p)
      if (all_[p].second.grad) references_[p].step(values(all_[p].second.grad), t, norm, clip);
  }

  ModelConfig config_ = small_config();
  ModelStorage storage_{config_, DType::kF32, true};
  std::vector<std::pair<ParameterInfo, Parameter>> all_;
  std::vector<Reference> references_;
  ThreadPool pool_{2};
  Arena arena_;
  Context ctx_{Device{}, pool_, arena_};
};

// An update is at most about lr; FP32 arithmetic of a handful of operations errs by some 1e-6 of
// it a step, and of the weight's own rounding.
TEST_F(OptimizerTest, IsAdamWWithClipping) {
  Optimizer optimizer(config_, storage_.weights, options(DType::kF32));
  for (int t = 1; t <= 5; ++t) step(optimizer, t, t % 2 ? 1.0f : 1e-4f, 1.0);  // clipped, not
  for (size_t p = 0; p < all_.size(); ++p) {
    const std::vector<float> w = values(all_[p].second.weight);
    for (size_t i = 0; i < w.size(); ++i)
      ASSERT_NEAR(w[i], references_[p].w[i], 1e-6 * (1 + std::abs(w[i]))) << all_[p].first.name;
  }
}

// m and v rounded to BF16 (relative 2^-9) after each step shift an update by below 1%.
TEST_F(OptimizerTest, Bf16MomentsStayNear) {
  Optimizer optimizer(config_, storage_.weights, options(DType::kBF16));
  for (int t = 1; t <= 5; ++t) step(optimizer, t, 0.1f, 0);
  for (size_t p = 0; p < all_.size(); ++p) {
    const std::vector<float> w = values(all_[p].second.weight);
    for (size_t i = 0; i < w.size(); ++i)
      ASSERT_NEAR(w[i], references_[p].w[i], 0.01 * 5 * kLr * 3) << all_[p].first.name;
  }
}

TEST_F(OptimizerTest, KeepsTheMovingAverage) {
  Optimizer optimizer(config_, storage_.weights, options(DType::kF32));
  for (int t = 1; t <= 4; ++t) step(optimizer, t, 0.1f, 0);
  size_t seen = 0;
  optimizer.for_each_state([&](const std::string& name, const TensorView& state) {
    for (size_t p = 0; p < all_.size(); ++p) {
      if (name != "ema." + all_[p].first.name) continue;
      ++seen;
      for (int64_t i = 0; i < state.elements(); ++i)
        ASSERT_NEAR(state.as<float>()[i], references_[p].ema[static_cast<size_t>(i)], 2e-6);
    }
  });
  EXPECT_EQ(seen, all_.size() - 3);  // all but the correction biases
}

TEST_F(OptimizerTest, LeavesCorrectionBiasesAlone) {
  Optimizer optimizer(config_, storage_.weights, options(DType::kF32));
  step(optimizer, 1, 1, 0);
  for (const auto& [info, p] : all_) {
    if (info.kind == ParameterKind::kCorrectionBias) {
      EXPECT_EQ(values(p.weight), std::vector<float>(8, 0.0f));
    }
  }
}

TEST_F(OptimizerTest, NormOfABadGradientIsNotFinite) {
  Optimizer optimizer(config_, storage_.weights, options(DType::kF32));
  draw_gradients(1, 1);
  storage_.weights.norm.grad.as<float>()[3] = std::nanf("");
  EXPECT_TRUE(std::isnan(optimizer.gradient_norm(ctx_)));
  storage_.weights.norm.grad.as<float>()[3] = INFINITY;
  EXPECT_FALSE(std::isfinite(optimizer.gradient_norm(ctx_)));
  optimizer.zero_gradients(ctx_);
  EXPECT_EQ(optimizer.gradient_norm(ctx_), 0);
}

}  // namespace
}  // namespace fathom::train
