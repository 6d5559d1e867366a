#include "model/rope_table.h"

#include <gtest/gtest.h>

#include <cmath>

namespace fathom {
namespace {

// Spec A.3: for V3's constants the blend begins after pair 10 and is complete at pair 23.
TEST(RopeTable, YarnBlendsPairs10To23OfV3) {
  const ModelConfig yarn = ModelConfig::preset("deepseek-v3");
  ModelConfig plain = yarn;
  plain.rope_scaling.reset();
  const std::vector<double> f = rope_frequencies(yarn), f0 = rope_frequencies(plain);
  ASSERT_EQ(f.size(), 32u);
  for (size_t i = 0; i < 32; ++i) {
    EXPECT_DOUBLE_EQ(f0[i], std::pow(10000.0, -static_cast<double>(i) / 32));
    const double ramp = std::clamp((static_cast<double>(i) - 10) / 13, 0.0, 1.0);
    EXPECT_NEAR(f[i], f0[i] * (ramp / 40 + 1 - ramp), 1e-15 * f0[i] * 10) << i;
  }
}

TEST(RopeTable, SoftmaxScaleOfThePublishedModels) {
  EXPECT_NEAR(ModelConfig::preset("deepseek-v3").softmax_scale(), 0.1352338, 5e-8);
  EXPECT_NEAR(ModelConfig::preset("deepseek-v2-lite").softmax_scale(), 0.114721, 5e-7);
  ModelConfig plain = ModelConfig::preset("deepseek-v3");
  plain.rope_scaling.reset();
  EXPECT_NEAR(plain.softmax_scale(), 0.0721688, 5e-8);
}

// Far positions keep FP32's precision: the angle is not rounded to FP32 first.
TEST(RopeTable, HoldsCosAndSinOfEveryPosition) {
  ModelConfig config = ModelConfig::preset("deepseek-v3");
  config.rope_scaling.reset();
  const RopeTable table(config, 5000);
  ASSERT_EQ(table.positions(), 5000);
  const std::vector<double> f = rope_frequencies(config);
  const auto cos = table.cos_PI.view().matrix<float>(), sin = table.sin_PI.view().matrix<float>();
  for (const int64_t p : {0, 1, 17, 4999})
    for (int64_t i = 0; i < 32; ++i) {
      const double angle = static_cast<double>(p) * f[static_cast<size_t>(i)];
      EXPECT_NEAR(cos(p, i), std::cos(angle), 1e-7);
      EXPECT_NEAR(sin(p, i), std::sin(angle), 1e-7);
    }
}

// mscale and mscale_all_dim that differ scale cos and sin by their ratio (Hugging Face).
TEST(RopeTable, UnequalMscalesScaleTheTable) {
  ModelConfig config = ModelConfig::preset("deepseek-v3");
  config.rope_scaling->mscale = 1;
  config.rope_scaling->mscale_all_dim = 0.707;
  const double ratio = (0.1 * std::log(40.0) + 1) / (0.0707 * std::log(40.0) + 1);
  const RopeTable table(config, 1);
  EXPECT_NEAR(table.cos_PI.as<float>()[0], ratio, 1e-6);
}

}  // namespace
}  // namespace fathom
