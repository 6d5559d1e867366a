// Continuous batching: what a request gets does not depend on what else the engine does.
#include "infer/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "infer/generate.h"
#include "infer/infer_test.h"

namespace fathom {
namespace {

using kernels::LatentCacheFormat;

/// A request's outcome, with the logarithm of each chosen token's probability to compare bits.
struct Outcome {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
  FinishReason reason;
  bool operator==(const Outcome&) const = default;
};

Outcome outcome_of(const GenerateResult& r) {
  Outcome o{r.ids, {}, r.finish_reason};
  for (const Logprobs& l : r.logprobs) o.logprobs.push_back(l.chosen);
  return o;
}

struct Job {
  std::vector<int32_t> prompt;
  GenerateOptions options;
  int64_t submitted_at = 0;  ///< step
};

constexpr int64_t kPositions = 800;

/// Prompts of all lengths around pages and blocks, some of which begin alike, that come in one
/// after the other.
std::vector<Job> random_jobs(const ModelConfig& config, uint64_t seed) {
  const Philox random(seed, 7);
  uint64_t next = 0;
  const auto below = [&](uint64_t n) { return static_cast<int64_t>(random.below(next++, n)); };
  std::vector<Job> jobs;
  const int64_t lengths[] = {1, 20, 63, 64, 65, 130, 200, 255, 256, 257, 300, 511, 512, 520};
  for (uint64_t i = 0; i < 9; ++i) {
    const int64_t length = lengths[below(std::size(lengths))];
    Job job{random_tokens(config, length, 100 * seed + i), {}, below(12)};
    if (!jobs.empty() && below(2) == 0) {
      const auto& other = jobs[static_cast<size_t>(below(jobs.size()))].prompt;
      const auto shared = std::min(job.prompt.size(), other.size());
      std::copy_n(other.begin(), shared, job.prompt.begin());
    }
    job.options.max_new_tokens = 2 + below(40);
    job.options.top_logprobs = 0;
    jobs.push_back(std::move(job));
  }
  return jobs;
}

std::vector<Outcome> run(Engine& engine, const std::vector<Job>& jobs) {
  std::vector<Outcome> outcomes(jobs.size());
  size_t submitted = 0;
  std::vector<size_t> order(jobs.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](size_t i) { return jobs[i].submitted_at; });
  for (int64_t step = 0; submitted < jobs.size() || engine.step(); ++step)
    for (; submitted < jobs.size() && jobs[order[submitted]].submitted_at <= step; ++submitted) {
      const size_t i = order[submitted];
      engine.submit({jobs[i].prompt, jobs[i].options, {}, [&outcomes, i](GenerateResult r) {
                       outcomes[i] = outcome_of(r);
                     }});
    }
  return outcomes;
}

struct Case {
  NamedConfig named;
  GemmPrecision precision;
  std::optional<LatentCacheFormat> format;
};

class Engines : public testing::TestWithParam<Case> {
 protected:
  EngineOptions options() const {
    return {.precision = GetParam().precision, .cache_format = GetParam().format};
  }
  static void with_drafts(std::vector<Job>& jobs) {
    for (size_t i = 0; i < jobs.size(); ++i) {
      jobs[i].options.drafts = static_cast<int64_t>(i % 4);
      jobs[i].options.adaptive_drafts = i % 3 == 0;
    }
  }

  ThreadPool pool_{1};
  TestModel model_{GetParam().named.config,
                   GetParam().precision == GemmPrecision::kF32 ? DType::kF32 : DType::kBF16, 7,
                   kPositions};
};

// Every request alone in an engine that never saw another gives the bits that all must have.
TEST_P(Engines, OutputDependsOnTheRequestAlone) {
  const bool mtp = !model_->mtp().empty();
  for (uint64_t seed = 0; seed < 2; ++seed) {
    auto jobs = random_jobs(GetParam().named.config, seed);
    std::vector<Outcome> expected;
    for (const Job& job : jobs) {
      Engine alone(*model_, pool_, options());
      expected.push_back(outcome_of(generate(alone, job.prompt, job.options)));
    }
    EngineOptions batched = options();
    batched.max_sequences = 4;
    Engine in_batches(*model_, pool_, batched);
    EXPECT_EQ(run(in_batches, jobs), expected);
    EXPECT_EQ(run(in_batches, jobs), expected) << "again, from the cache";
    EXPECT_GT(in_batches.stats().reused_tokens, 0);

    EngineOptions cramped = options();
    cramped.max_sequences = 6;
    cramped.cache_tokens = 13 * kPageTokens;
    cramped.step_tokens = 100;
    cramped.mixed_step_tokens = 70;
    cramped.mtp = mtp;
    if (mtp) with_drafts(jobs);
    Engine short_of_pages(*model_, pool_, cramped);
    EXPECT_EQ(run(short_of_pages, jobs), expected);
    EXPECT_GT(short_of_pages.stats().preemptions, 0);
    EXPECT_EQ(short_of_pages.stats().running + short_of_pages.stats().waiting, 0);
  }
}

std::vector<Case> cases() {
  std::vector<Case> list;
  for (const NamedConfig& named : all_configs())
    list.push_back({named, GemmPrecision::kBF16, std::nullopt});
  list.push_back({all_configs()[0], GemmPrecision::kF32, std::nullopt});
  list.push_back({all_configs()[0], GemmPrecision::kBF16, LatentCacheFormat::kFP8});
  return list;
}

INSTANTIATE_TEST_SUITE_P(All, Engines, testing::ValuesIn(cases()), [](const auto& info) {
  return info.param.named.name + (info.param.precision == GemmPrecision::kF32 ? "_f32" : "_bf16") +
         (info.param.format ? "_fp8_cache" : "");
});

class EngineTest : public testing::Test {
 protected:
  Engine::RequestId submit(Engine& e, std::vector<int32_t> prompt, GenerateOptions options,
                           OnToken on_token = {}) {
    const size_t i = results_.size();
    results_.emplace_back();
    return e.submit({std::move(prompt), std::move(options), std::move(on_token),
                     [this, i](GenerateResult r) { results_[i] = std::move(r); }});
  }
  static void run_out(Engine& e) {
    while (e.step()) {
    }
  }

  ThreadPool pool_{1};
  ModelConfig config_ = small_config();
  std::vector<std::optional<GenerateResult>> results_;
};

TEST_F(EngineTest, SampledTextsDoNotDependOnTheBatch) {
  const TestModel model(config_, DType::kBF16, 1, kPositions);
  auto jobs = random_jobs(config_, 5);
  std::vector<Outcome> expected;
  for (Job& job : jobs) {
    job.options.sampler = {.temperature = 1, .seed = static_cast<uint64_t>(job.prompt.size())};
    job.options.batch_invariant = true;
    Engine alone(*model, pool_, {});
    expected.push_back(outcome_of(generate(alone, job.prompt, job.options)));
  }
  Engine engine(*model, pool_, {.max_sequences = 5, .cache_tokens = 20 * kPageTokens});
  EXPECT_EQ(run(engine, jobs), expected);
}

TEST_F(EngineTest, RequestsOverTheLimitWait) {
  const TestModel model(config_, DType::kBF16, 1);
  Engine e(*model, pool_, {.max_sequences = 2});
  for (uint64_t i = 0; i < 5; ++i)
    submit(e, random_tokens(config_, 10, i), {.max_new_tokens = 5, .ignore_eos = true});
  EXPECT_EQ(e.stats().waiting, 5);
  e.step();
  EXPECT_EQ(e.stats().running, 2);
  EXPECT_EQ(e.stats().waiting, 3);
  run_out(e);
  for (const auto& r : results_) EXPECT_EQ(r->ids.size(), 5u);
  EXPECT_EQ(e.stats().generated_tokens, 25);
  EXPECT_EQ(e.stats().prompt_tokens, 50);
  EXPECT_FALSE(e.step());
}

TEST_F(EngineTest, CancelledRequestsEndWithWhatTheyHave) {
  const TestModel model(config_, DType::kBF16, 1);
  Engine e(*model, pool_, {.max_sequences = 1});
  const auto a = submit(e, random_tokens(config_, 10, 1), {});
  const auto b = submit(e, random_tokens(config_, 10, 2), {});
  submit(e, random_tokens(config_, 10, 3), {.max_new_tokens = 3});
  for (int i = 0; i < 4; ++i) e.step();
  e.cancel(b);
  e.cancel(a);
  e.cancel(a);
  EXPECT_EQ(results_[0]->ids.size(), 4u);
  EXPECT_EQ(results_[0]->finish_reason, FinishReason::kInterrupted);
  EXPECT_EQ(results_[1]->finish_reason, FinishReason::kInterrupted);
  run_out(e);
  EXPECT_EQ(results_[2]->ids.size(), 3u);
}

TEST_F(EngineTest, AStepGivenUpLosesNothing) {
  // Long enough for blocks and a tail; every seventh question gives a pass up.
  const TestModel model(config_, DType::kBF16, 4, kPositions);
  Engine engine(*model, pool_, {.mtp = true});
  const std::vector<int32_t> prompt = random_tokens(config_, 600, 5);
  for (const int64_t drafts : {0, 2}) {
    const GenerateOptions options{
        .max_new_tokens = 20, .drafts = drafts, .top_logprobs = 0, .reuse_cache = false};
    const Outcome expected = outcome_of(generate(engine, prompt, options));
    std::optional<Outcome> actual;
    engine.submit({prompt, options, {}, [&](GenerateResult r) { actual = outcome_of(r); }});
    int64_t asked = 0, given_up = 0;
    const auto stop = [&] { return ++asked % 7 == 0 && ++given_up; };
    while (engine.step(stop)) {
    }
    ASSERT_TRUE(actual);
    EXPECT_EQ(*actual, expected);
    EXPECT_GT(given_up, 0);
  }
}

TEST_F(EngineTest, StoppingWhileAPromptIsReadKeepsWhatWasRead) {
  const TestModel model(config_, DType::kBF16, 4, kPositions);
  Engine engine(*model, pool_, {.step_tokens = 256});
  const std::vector<int32_t> prompt = random_tokens(config_, 700, 5);
  int64_t asked = 0;  // before each layer: the second block is being read
  const GenerateResult stopped =
      generate(engine, prompt, {.max_new_tokens = 5}, {}, [&] { return ++asked > 5; });
  EXPECT_EQ(stopped.finish_reason, FinishReason::kInterrupted);
  EXPECT_TRUE(stopped.ids.empty());
  const GenerateResult again = generate(engine, prompt, {.max_new_tokens = 5});
  EXPECT_EQ(again.reused_tokens, 256);
  EXPECT_EQ(again.ids.size(), 5u);
}

TEST_F(EngineTest, AFailingRequestLeavesOthersAlone) {
  const TestModel model(config_, DType::kBF16, 1);
  Engine e(*model, pool_, {.max_sequences = 2});
  const auto prompt = random_tokens(config_, 10, 1);
  submit(e, prompt, {.max_new_tokens = 6},
         [](const GeneratedToken&) -> bool { throw Error("no room on the wire", "wait"); });
  submit(e, prompt, {.max_new_tokens = 6});
  run_out(e);
  EXPECT_EQ(results_[0]->finish_reason, FinishReason::kError);
  EXPECT_EQ(results_[0]->error, "no room on the wire");
  EXPECT_EQ(results_[0]->error_hint, "wait");
  EXPECT_EQ(results_[1]->ids.size(), 6u);
}

TEST_F(EngineTest, NotANumberEndsTheRequestWithAnError) {
  TestModel model(config_, DType::kF32, 1);
  model.weights().norm.weight.as<float>()[3] = NAN;
  Engine e(*model, pool_, {.precision = GemmPrecision::kF32});
  submit(e, random_tokens(config_, 10, 1), {});
  run_out(e);
  EXPECT_EQ(results_[0]->finish_reason, FinishReason::kError);
  EXPECT_THROW(generate(e, random_tokens(config_, 10, 1), {}), Error);
}

TEST_F(EngineTest, TheContextsEndIsALengthAndNoError) {
  const TestModel model(config_, DType::kBF16, 1, 100);
  Engine e(*model, pool_, {.max_context = 90});
  const GenerateResult r = generate(e, random_tokens(config_, 80, 1), {.ignore_eos = true});
  EXPECT_EQ(r.ids.size(), 10u);
  EXPECT_EQ(r.finish_reason, FinishReason::kLength);
}

TEST_F(EngineTest, TheCachesEndIsALengthAndNoError) {
  const TestModel model(config_, DType::kBF16, 1, 400);
  Engine e(*model, pool_, {.max_sequences = 2, .cache_tokens = 192});
  submit(e, random_tokens(config_, 150, 1), {.ignore_eos = true});
  submit(e, random_tokens(config_, 60, 2), {.ignore_eos = true});
  run_out(e);
  EXPECT_EQ(results_[0]->ids.size(), 192u - 150 + 1);
  EXPECT_EQ(results_[1]->ids.size(), 192u - 60 + 1);
  for (const auto& r : results_) EXPECT_EQ(r->finish_reason, FinishReason::kLength);
}

// Pages read twice are kept once: else a prompt would have to fit beside its former reading.
TEST_F(EngineTest, ReadingAPromptAfreshNeedsNoMoreRoom) {
  const TestModel model(config_, DType::kBF16, 1, kPositions);
  for (const bool mtp : {false, true}) {
    Engine e(*model, pool_, {.cache_tokens = 576, .mtp = mtp, .step_tokens = 256});
    const auto prompt = random_tokens(config_, 520, 1);
    const GenerateOptions options{
        .max_new_tokens = 10, .ignore_eos = true, .drafts = mtp, .reuse_cache = false};
    const GenerateResult first = generate(e, prompt, options);
    EXPECT_EQ(first.ids.size(), 10u);
    for (int again = 0; again < 2; ++again) {
      const GenerateResult r = generate(e, prompt, options);
      EXPECT_EQ(r.ids, first.ids);
      EXPECT_EQ(r.reused_tokens, 0);
    }
  }
}

TEST_F(EngineTest, RequestsThatCannotBeServedAreErrors) {
  const TestModel model(config_, DType::kF32, 1, 100);
  EXPECT_THROW(Engine(*model, pool_, {.max_context = 101}), Error);
  Engine e(*model, pool_, {.precision = GemmPrecision::kF32, .cache_tokens = 64});
  EXPECT_EQ(e.max_context(), 100);
  const auto refuse = [&](std::vector<int32_t> prompt, GenerateOptions options) {
    EXPECT_THROW(submit(e, std::move(prompt), std::move(options)), Error);
  };
  refuse({}, {});
  refuse({1, 61}, {});
  refuse({-1}, {});
  refuse(random_tokens(config_, 64, 1), {});
  refuse({1}, {.max_new_tokens = -1});
  refuse({1}, {.sampler = {.temperature = -1}});
  refuse({1}, {.drafts = 1});
  EXPECT_FALSE(e.step());
  config_.num_nextn_predict_layers = 0;
  const TestModel plain(config_, DType::kF32, 1);
  EXPECT_THROW(Engine(*plain, pool_, {.mtp = true}), Error);
}

// A conversation: each turn begins with all that was said before.
TEST_F(EngineTest, WholePagesOfEarlierTextsAreReused) {
  const TestModel model(config_, DType::kBF16, 1, kPositions);
  for (const bool mtp : {false, true}) {
    Engine e(*model, pool_, {.mtp = mtp});
    auto text = random_tokens(config_, 70, 1);
    const GenerateOptions options{.max_new_tokens = 70, .ignore_eos = true, .drafts = mtp};
    auto r = generate(e, text, options);
    EXPECT_EQ(r.reused_tokens, 0);
    text.insert(text.end(), r.ids.begin(), r.ids.end());
    r = generate(e, text, options);
    EXPECT_EQ(r.reused_tokens, 128);
    GenerateOptions afresh = options;
    afresh.reuse_cache = false;
    EXPECT_EQ(generate(e, text, afresh).ids, r.ids);
    // The prompt now has a whole block, which is read in the other form.
    text.insert(text.end(), r.ids.begin(), r.ids.end());
    text.insert(text.end(), 60, 5);
    GenerateOptions any = options;
    any.batch_invariant = false;
    EXPECT_EQ(generate(e, text, any).reused_tokens, 192);
    EXPECT_EQ(generate(e, text, options).reused_tokens, 0);
    EXPECT_EQ(generate(e, text, options).reused_tokens, 256);
  }
}

TEST_F(EngineTest, MemoryIsBoundedByPagesAndOnePass) {
  const TestModel model(config_, DType::kBF16, 1, kPositions);
  Engine e(*model, pool_, {.max_sequences = 3, .cache_tokens = 640, .mtp = true});
  for (uint64_t i = 0; i < 30; ++i)
    submit(e, random_tokens(config_, 40 + 13 * static_cast<int64_t>(i), i),
           {.max_new_tokens = 10, .drafts = 1});
  run_out(e);
  const EngineStats stats = e.stats();
  EXPECT_EQ(stats.page_capacity, 10);
  EXPECT_LE(stats.cache_bytes, 640 * 4 * (32 + 8) * 2);
  EXPECT_LT(stats.workspace_bytes, int64_t{24} << 20);
}

}  // namespace
}  // namespace fathom
