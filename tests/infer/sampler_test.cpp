#include "infer/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"

namespace fathom {
namespace {

using Ids = std::vector<int32_t>;

// Logits of the probabilities 0.4, 0.1, 0.3, 0.2.
const std::vector<float> kLogits = {std::log(0.4f), std::log(0.1f), std::log(0.3f), std::log(0.2f)};

std::vector<float> distribution(const SamplerOptions& options, const Ids& history = {}) {
  return Sampler(options).distribution(kLogits, history);
}

void expect_near(const std::vector<float>& p, const std::vector<float>& expected) {
  ASSERT_EQ(p.size(), expected.size());
  // A few FP32 roundings of log, exp and the quotient.
  for (size_t i = 0; i < p.size(); ++i) EXPECT_NEAR(p[i], expected[i], 1e-6) << i;
}

TEST(Sampler, TemperatureOneKeepsTheModelsDistribution) {
  expect_near(distribution({.temperature = 1}), {0.4f, 0.1f, 0.3f, 0.2f});
}

TEST(Sampler, TemperatureIsAPower) {
  // p^(1/0.5): 16, 1, 9, 4 of 30.
  expect_near(distribution({.temperature = 0.5}), {16 / 30.f, 1 / 30.f, 9 / 30.f, 4 / 30.f});
}

TEST(Sampler, ZeroTemperatureIsGreedyWithTheLowestIdOnTies) {
  expect_near(distribution({}), {1, 0, 0, 0});
  const std::vector<float> tied = {1, 5, 5, 0};
  expect_near(Sampler({}).distribution(tied, {}), {0, 1, 0, 0});
}

TEST(Sampler, TinyTemperatureIsGreedy) {
  expect_near(distribution({.temperature = 1e-30f}), {1, 0, 0, 0});
}

TEST(Sampler, TopKKeepsTheBest) {
  expect_near(distribution({.temperature = 1, .top_k = 2}), {4 / 7.f, 0, 3 / 7.f, 0});
  expect_near(distribution({.temperature = 1, .top_k = 9}), {0.4f, 0.1f, 0.3f, 0.2f});
  const std::vector<float> tied = {1, 5, 5, 5};
  expect_near(Sampler({.temperature = 1, .top_k = 2}).distribution(tied, {}), {0, 0.5, 0.5, 0});
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  expect_near(distribution({.temperature = 1, .top_p = 0.39f}), {1, 0, 0, 0});
  expect_near(distribution({.temperature = 1, .top_p = 0.69f}), {4 / 7.f, 0, 3 / 7.f, 0});
  expect_near(distribution({.temperature = 1, .top_p = 0.71f}), {4 / 9.f, 0, 3 / 9.f, 2 / 9.f});
  expect_near(distribution({.temperature = 1, .top_p = 1e-6f}), {1, 0, 0, 0});
}

TEST(Sampler, TopPCountsWhatTopKLeft) {
  // Of {4/7, 3/7} the first alone reaches 0.55; of the whole it would not.
  expect_near(distribution({.temperature = 1, .top_k = 2, .top_p = 0.55f}), {1, 0, 0, 0});
}

TEST(Sampler, MinPIsRelativeToTheBest) {
  expect_near(distribution({.temperature = 1, .min_p = 0.6f}), {4 / 7.f, 0, 3 / 7.f, 0});
  expect_near(distribution({.temperature = 1, .min_p = 1}), {1, 0, 0, 0});
}

TEST(Sampler, RepetitionPenaltyMovesSeenTokensDown) {
  const std::vector<float> logits = {2, -2, 1, 0};
  const Sampler sampler({.temperature = 1, .repetition_penalty = 2});
  const auto p = sampler.distribution(logits, Ids{0, 0, 1});  // logits become 1, -4, 1, 0
  const float sum = 2 * std::exp(1.f) + std::exp(-4.f) + 1;
  expect_near(p, {std::exp(1.f) / sum, std::exp(-4.f) / sum, std::exp(1.f) / sum, 1 / sum});
  EXPECT_EQ(Sampler({.repetition_penalty = 3}).distribution(logits, Ids{0})[2], 1);
}

TEST(Sampler, DrawFollowsTheDistribution) {
  const Sampler sampler({.temperature = 1, .seed = 3});
  const std::vector<float> p = {0.4f, 0, 0.5f, 0.1f};
  std::vector<int> count(4);
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i)
    ++count[static_cast<size_t>(sampler.draw(p, i, RandomStream::kToken))];
  EXPECT_EQ(count[1], 0);
  for (size_t i = 0; i < 4; ++i) {  // five standard deviations
    EXPECT_NEAR(count[i], kDraws * p[i], 5 * std::sqrt(kDraws * p[i] * (1 - p[i])));
  }
}

TEST(Sampler, NumbersBelongToSeedPositionAndStream) {
  const Sampler a({.seed = 1}), again({.seed = 1}), b({.seed = 2});
  EXPECT_EQ(a.uniform(7, RandomStream::kToken), again.uniform(7, RandomStream::kToken));
  EXPECT_NE(a.uniform(7, RandomStream::kToken), a.uniform(8, RandomStream::kToken));
  EXPECT_NE(a.uniform(7, RandomStream::kToken), a.uniform(7, RandomStream::kDraft));
  EXPECT_NE(a.uniform(7, RandomStream::kToken), b.uniform(7, RandomStream::kToken));
}

TEST(Sampler, BadOptionsAndLogitsAreErrors) {
  EXPECT_THROW(Sampler({.temperature = -1}), Error);
  EXPECT_THROW(Sampler({.temperature = NAN}), Error);
  EXPECT_THROW(Sampler({.top_k = -1}), Error);
  EXPECT_THROW(Sampler({.top_p = 0}), Error);
  EXPECT_THROW(Sampler({.top_p = 1.1f}), Error);
  EXPECT_THROW(Sampler({.min_p = -0.1f}), Error);
  EXPECT_THROW(Sampler({.repetition_penalty = 0}), Error);
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    EXPECT_THROW(Sampler({}).distribution(std::vector<float>{1, bad, 2}, {}), Error);
  }
}

TEST(Logprobs, AreTheModelsOwn) {
  const Logprobs l = logprobs_of(kLogits, 1, 2);
  EXPECT_NEAR(l.chosen, std::log(0.1), 1e-6);
  ASSERT_EQ(l.top.size(), 2u);
  EXPECT_EQ(l.top[0].id, 0);
  EXPECT_NEAR(l.top[0].logprob, std::log(0.4), 1e-6);
  EXPECT_EQ(l.top[1].id, 2);
  EXPECT_EQ(logprobs_of(kLogits, 1, 0).top.size(), 0u);
  EXPECT_EQ(logprobs_of(kLogits, 1, 99).top.size(), 4u);
}

}  // namespace
}  // namespace fathom
