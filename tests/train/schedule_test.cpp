#include "train/schedule.h"

#include <gtest/gtest.h>

namespace fathom::train {
namespace {

/// DeepSeek-V3's own run (TR §4.2), points in tokens.
TrainConfig deepseek_v3() {
  return parse_train_config(R"(
    model = "deepseek-v3"
    [data]
    train = "corpus"
    [train]
    steps = 242800
    batch_tokens = 62914560         # 15360 sequences of 4096
    batch_tokens_start = 12582912   # 3072
    batch_ramp_tokens = 469e9
    [optimizer.schedule]
    warmup_steps = 2000
    constant_until = 10e12
    cosine_until = 14.3e12
    tail_from = 14.633e12
    [moe]
    bias_update_until = 14.3e12
    [mtp]
    lambda_switch = 10e12
  )",
                            "/v3.toml");
}

constexpr int64_t kT = 1'000'000'000'000;

TEST(Schedule, LearningRateIsThePapers) {
  const Schedule s(deepseek_v3());
  const int64_t late = 200'000;
  EXPECT_DOUBLE_EQ(s.learning_rate(1, 0), 2.2e-4 / 2000);
  EXPECT_DOUBLE_EQ(s.learning_rate(1000, kT / 100), 1.1e-4);
  EXPECT_DOUBLE_EQ(s.learning_rate(2000, kT / 50), 2.2e-4);
  EXPECT_DOUBLE_EQ(s.learning_rate(late, 5 * kT), 2.2e-4);
  EXPECT_DOUBLE_EQ(s.learning_rate(late, 10 * kT), 2.2e-4);
  EXPECT_NEAR(s.learning_rate(late, 10 * kT + 2150 * kT / 1000), (2.2e-4 + 2.2e-5) / 2, 1e-18)
      << "half way down the cosine";
  EXPECT_NEAR(s.learning_rate(late, 14'300 * (kT / 1000) - 1), 2.2e-5, 1e-15);
  EXPECT_DOUBLE_EQ(s.learning_rate(late, 14'300 * (kT / 1000)), 2.2e-5);
  EXPECT_DOUBLE_EQ(s.learning_rate(late, 14'632 * (kT / 1000)), 2.2e-5);
  EXPECT_DOUBLE_EQ(s.learning_rate(late, 14'633 * (kT / 1000)), 7.3e-6);
}

TEST(Schedule, BatchRampIsThePapers) {
  const Schedule s(deepseek_v3());
  EXPECT_EQ(s.batch_tokens(0), 3072 * 4096);
  EXPECT_EQ(s.batch_tokens(469'000'000'000 / 2), 9216 * 4096);
  EXPECT_EQ(s.batch_tokens(469'000'000'000), 15360 * 4096);
  EXPECT_EQ(s.at(1).sequences, 3072);
  EXPECT_EQ(s.at(242'800).sequences, 15360);
  EXPECT_NEAR(static_cast<double>(s.total_tokens()), 14.8e12, 0.01e12)
      << "242,800 steps are the paper's 14.8T tokens";
}

TEST(Schedule, LambdaAndBiasSpeedAreThePapers) {
  const Schedule s(deepseek_v3());
  EXPECT_EQ(s.mtp_lambda(10 * kT - 1), 0.3);
  EXPECT_EQ(s.mtp_lambda(10 * kT), 0.1);
  EXPECT_EQ(s.bias_update_speed(14'299 * (kT / 1000)), 0.001);
  EXPECT_EQ(s.bias_update_speed(14'300 * (kT / 1000)), 0);
}

TrainConfig short_run(const std::vector<std::string>& overrides) {
  return parse_train_config(R"(
    model = "nano"
    [data]
    train = "corpus"
    seq_len = 100
    [train]
    steps = 148
    micro_batch = 2
    batch_tokens = 1000
  )",
                            "/short.toml", overrides);
}

TEST(Schedule, PointsGivenAsSharesFollowTheRun) {
  const Schedule s(short_run({"train.batch_tokens=1000"}));
  EXPECT_EQ(s.total_tokens(), 148'000);
  EXPECT_DOUBLE_EQ(s.at(14).lr, 2.2e-4) << "warm-up is a tenth of a short run";
  EXPECT_DOUBLE_EQ(s.at(101).lr, 2.2e-4) << "100,000 tokens are 10 of 14.8";
  EXPECT_LT(s.at(102).lr, 2.2e-4);
  EXPECT_NEAR(s.at(144).lr, 2.2e-5, 1e-12);
  EXPECT_DOUBLE_EQ(s.at(148).lr, 7.3e-6);
  EXPECT_EQ(s.at(100).mtp_lambda, 0.3);
  EXPECT_EQ(s.at(102).mtp_lambda, 0.1);
  EXPECT_EQ(s.at(143).bias_update_speed, 0.001);
  EXPECT_EQ(s.at(145).bias_update_speed, 0);
}

TEST(Schedule, ConstantAndCosineShapes) {
  const Schedule constant(short_run({"optimizer.schedule=constant"}));
  EXPECT_DOUBLE_EQ(constant.at(148).lr, 2.2e-4);
  const Schedule cosine(
      short_run({"optimizer.schedule=cosine", "optimizer.schedule.warmup_steps=48"}));
  EXPECT_DOUBLE_EQ(cosine.at(24).lr, 1.1e-4);
  EXPECT_DOUBLE_EQ(cosine.at(49).lr, 2.2e-4) << "falls only after the warm-up";
  EXPECT_NEAR(cosine.at(99).lr, 2.2e-4 * 0.55, 1e-12) << "half way";
  EXPECT_NEAR(cosine.at(148).lr, 2.2e-5, 2.2e-4 * 1e-3);
}

TEST(Schedule, StepsFollowEachOtherWithoutGapsAndInWholeMicroBatches) {
  const Schedule s(short_run({"train.batch_tokens_start=200", "train.batch_ramp_tokens=20_000"}));
  int64_t tokens = 0, sequences = 0, last = 0;
  for (int64_t step = 1; step <= s.steps(); ++step) {
    const StepPlan plan = s.at(step);
    EXPECT_EQ(plan.tokens_before, tokens);
    EXPECT_EQ(plan.first_sample, sequences);
    EXPECT_EQ(plan.sequences % 2, 0);
    EXPECT_GE(plan.sequences, last);
    EXPECT_EQ(plan.sequences, s.batch_tokens(tokens) / 100);
    last = plan.sequences;
    tokens += plan.sequences * 100;
    sequences += plan.sequences;
    EXPECT_EQ(plan.tokens_after, tokens);
  }
  EXPECT_EQ(last, 10);
  EXPECT_EQ(s.total_tokens(), tokens);
}

TEST(Schedule, ARampLongerThanTheRunIsAllowed) {
  const Schedule s(short_run({"train.batch_tokens_start=200", "train.batch_ramp_tokens=1e9"}));
  EXPECT_EQ(s.at(148).sequences, 2);
  EXPECT_EQ(s.total_tokens(), 148 * 200);
}

}  // namespace
}  // namespace fathom::train
