#include "infer/generate.h"

#include <gtest/gtest.h>

#include "infer/infer_test.h"

namespace fathom {
namespace {

class GenerateTest : public testing::Test {
 protected:
  static std::string letter(int32_t id) { return std::string(1, static_cast<char>('A' + id)); }

  GenerateResult run(const GenerateOptions& options, const OnToken& on_token = {}) {
    return generate(engine_, prompt_, options, on_token);
  }

  ThreadPool pool_{1};
  ModelConfig config_ = small_config();
  TestModel model_{config_, DType::kBF16, 4};
  Engine engine_{*model_, pool_, {.mtp = true}};
  std::vector<int32_t> prompt_ = random_tokens(config_, 12, 1);
};

TEST_F(GenerateTest, GreedyIsTheArgmaxOfTheFullForward) {
  // In FP32, where the two forms of attention agree far better than the best two logits.
  Engine engine(*model_, pool_, {.precision = GemmPrecision::kF32});
  const GenerateResult r = generate(engine, prompt_, {.max_new_tokens = 20});
  std::vector<int32_t> sequence = prompt_;
  sequence.insert(sequence.end(), r.ids.begin(), r.ids.end());
  const FullLogits full(*model_, pool_, GemmPrecision::kF32, sequence);
  for (size_t i = 0; i < r.ids.size(); ++i) {
    const auto row = full.depths[0].begin() + static_cast<long>(prompt_.size() + i - 1) * 61;
    EXPECT_EQ(r.ids[i], std::max_element(row, row + 61) - row);
  }
}

TEST_F(GenerateTest, ReportsCountsAndRates) {
  const GenerateResult r = run({.max_new_tokens = 9, .drafts = 1});
  EXPECT_EQ(r.ids.size(), 9u);
  EXPECT_EQ(r.finish_reason, FinishReason::kLength);
  EXPECT_STREQ(name_of(r.finish_reason), "length");
  EXPECT_EQ(r.prompt_tokens, 12);
  EXPECT_EQ(r.reused_tokens, 0);
  EXPECT_GT(r.prefill_tokens_per_s(), 0);
  EXPECT_GT(r.decode_tokens_per_s(), 0);
  EXPECT_GT(r.mtp.drafted, 0);
  EXPECT_LE(r.mtp.accepted, r.mtp.drafted);
  EXPECT_EQ(run({.max_new_tokens = 1}).decode_tokens_per_s(), 0);
}

TEST_F(GenerateTest, SameSeedSameText) {
  GenerateOptions options{.max_new_tokens = 30, .sampler = {.temperature = 1, .seed = 5}};
  const auto ids = run(options).ids;
  EXPECT_EQ(run(options).ids, ids);
  options.sampler.seed = 6;
  EXPECT_NE(run(options).ids, ids);
}

TEST_F(GenerateTest, ResumingDoesNotShiftTheRandomNumbers) {
  GenerateOptions options{.max_new_tokens = 80, .sampler = {.temperature = 1, .seed = 5}};
  const auto whole = run(options).ids;
  options.max_new_tokens = 60;
  const auto head = run(options).ids;
  prompt_.insert(prompt_.end(), head.begin(), head.end());
  options.max_new_tokens = 20;
  const GenerateResult rest = run(options);
  EXPECT_EQ(rest.reused_tokens, 64);
  EXPECT_EQ(rest.ids, std::vector<int32_t>(whole.begin() + 60, whole.end()));
}

TEST_F(GenerateTest, EndsAtEosUnlessToldOtherwise) {
  const auto ids = run({.max_new_tokens = 10}).ids;
  const auto first = std::find(ids.begin(), ids.end(), ids[4]) - ids.begin();
  int32_t unused = 0;
  while (std::find(ids.begin(), ids.end(), unused) != ids.end()) ++unused;
  enum class Place { kField, kList, kRequest };
  for (const Place place : {Place::kField, Place::kList, Place::kRequest}) {
    ModelConfig config = config_;
    config.eos_token_id = place == Place::kField ? ids[4] : unused;
    if (place == Place::kList) config.more_eos_token_ids = {ids[4]};
    Transformer model(config, model_->weights(), 128);
    Engine engine(model, pool_, {.mtp = true});
    GenerateOptions options{.max_new_tokens = 10, .token_text = letter, .drafts = 2};
    if (place == Place::kRequest) options.more_eos_token_ids = {ids[4]};
    const GenerateResult r = generate(engine, prompt_, options);
    EXPECT_EQ(r.finish_reason, FinishReason::kStop);
    EXPECT_EQ(r.ids.back(), ids[4]);
    EXPECT_EQ(static_cast<long>(r.ids.size()), first + 1);
    EXPECT_EQ(r.text.size(), r.ids.size() - 1);
    options.ignore_eos = true;
    EXPECT_EQ(generate(engine, prompt_, options).ids, ids);
  }
}

TEST_F(GenerateTest, StopStringsSpanTokens) {
  GenerateOptions options{.max_new_tokens = 12, .token_text = letter};
  const std::string text = run(options).text;
  ASSERT_EQ(text.size(), 12u);
  options.stop = {text.substr(4, 3)};
  for (const int64_t drafts : {0, 3}) {
    options.drafts = drafts;
    std::string shown;
    const GenerateResult r = run(options, [&](const GeneratedToken& t) {
      shown += t.text;
      return true;
    });
    const size_t at = text.find(options.stop[0]);
    EXPECT_EQ(r.text, text.substr(0, at));
    EXPECT_EQ(shown, r.text);
    EXPECT_EQ(r.ids.size(), at + 3);
    EXPECT_EQ(r.finish_reason, FinishReason::kStop);
  }
}

TEST_F(GenerateTest, TextHeldBackIsShownAtTheEnd) {
  GenerateOptions options{.max_new_tokens = 6, .token_text = letter};
  const std::string text = run(options).text;
  options.stop = {text.substr(4, 2) + "?"};
  std::string shown;
  const GenerateResult r = run(options, [&](const GeneratedToken& t) {
    shown += t.text;
    return true;
  });
  EXPECT_EQ(r.text, text);
  EXPECT_EQ(shown, text);
  EXPECT_EQ(r.finish_reason, FinishReason::kLength);
}

TEST_F(GenerateTest, CallbackInterrupts) {
  int calls = 0;
  const GenerateResult r =
      run({.max_new_tokens = 50}, [&](const GeneratedToken&) { return ++calls < 5; });
  EXPECT_EQ(r.ids.size(), 5u);
  EXPECT_EQ(r.finish_reason, FinishReason::kInterrupted);
}

TEST_F(GenerateTest, LogprobsBelongToTheChosenTokens) {
  GenerateOptions options{.max_new_tokens = 10, .drafts = 2, .top_logprobs = 3};
  const GenerateResult r = run(options, [](const GeneratedToken& t) { return t.logprobs; });
  ASSERT_EQ(r.logprobs.size(), 10u);
  for (size_t i = 0; i < 10; ++i) {  // greedy: the chosen token is the most probable
    EXPECT_EQ(r.logprobs[i].top.size(), 3u);
    EXPECT_EQ(r.logprobs[i].top[0].id, r.ids[i]);
    EXPECT_EQ(r.logprobs[i].top[0].logprob, r.logprobs[i].chosen);
    EXPECT_LT(r.logprobs[i].chosen, 0);
  }
}

TEST_F(GenerateTest, PromptsThatCannotBeContinuedAreErrors) {
  prompt_.clear();
  EXPECT_THROW(run({}), Error);
  prompt_ = random_tokens(config_, 128, 1);
  EXPECT_THROW(run({}), Error);
  prompt_.pop_back();
  EXPECT_EQ(run({}).ids.size(), 1u);
  EXPECT_THROW(run({.max_new_tokens = -1}), Error);
  EXPECT_THROW(run({.top_logprobs = -1}), Error);
}

}  // namespace
}  // namespace fathom
