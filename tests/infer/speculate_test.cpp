#include "infer/speculate.h"

#include <gtest/gtest.h>

#include <random>

#include <cmath>

#include "infer/generate.h"
#include "infer/infer_test.h"

namespace fathom {
namespace {

/// Pearson's statistic with bins of small expectation joined, as standard deviations of its
/// chi-square distribution above its mean.
double excess(const std::vector<int>& count, const std::vector<double>& probability) {
  double total = 0, chi2 = 0, bins = -1, rest_expected = 0, rest_count = 0;
  for (const int c : count) total += c;
  const auto add = [&](double observed, double expected) {
    chi2 += (observed - expected) * (observed - expected) / expected;
    bins += 1;
  };
  for (size_t i = 0; i < count.size(); ++i) {
    if (probability[i] * total >= 5) {
      add(count[i], probability[i] * total);
    } else {
      rest_expected += probability[i] * total;
      rest_count += count[i];
    }
  }
  if (rest_expected >= 1) add(rest_count, rest_expected);
  return (chi2 - bins) / std::sqrt(2 * bins);
}

// A chi-square statistic exceeds its mean by 6 of its standard deviations with probability below
// 1e-5 for the degrees of freedom here.
constexpr double kExcess = 6;

TEST(VerifyDraft, OutputHasTheTargetDistribution) {
  const std::vector<float> p = {0.5f, 0.1f, 0, 0.25f, 0.15f}, q = {0.2f, 0.3f, 0.1f, 0.4f, 0};
  const Sampler sampler({.temperature = 1, .seed = 11});
  std::vector<int> count(p.size());
  int accepted = 0;
  constexpr int kDraws = 40000;
  for (int i = 0; i < kDraws; ++i) {
    const int32_t draft = sampler.draw(q, i, RandomStream::kDraft);
    const Verdict v = verify_draft(sampler, p, q, draft, i);
    if (v.accepted) {
      EXPECT_EQ(v.token, draft);
    }
    accepted += v.accepted;
    ++count[static_cast<size_t>(v.token)];
  }
  EXPECT_EQ(count[2], 0);
  EXPECT_LT(excess(count, {p.begin(), p.end()}), kExcess);
  // Acceptance is Σ min(p, q) = 0.55.
  EXPECT_NEAR(accepted, 0.55 * kDraws, 5 * std::sqrt(kDraws * 0.55 * 0.45));
}

TEST(VerifyDraft, GreedyAcceptsTheSameTokenAlone) {
  const Sampler sampler({});
  const std::vector<float> p = {0, 1, 0}, other = {0, 0, 1};
  EXPECT_TRUE(verify_draft(sampler, p, p, 1, 0).accepted);
  const Verdict v = verify_draft(sampler, p, other, 2, 0);
  EXPECT_FALSE(v.accepted);
  EXPECT_EQ(v.token, 1);
}

/// Few tokens, so that drafts are often right.
ModelConfig tiny_config(int64_t vocab, int64_t depth) {
  ModelConfig c = small_config();
  c.vocab_size = vocab;
  c.num_hidden_layers = 2;
  c.hidden_size = 32;
  c.num_nextn_predict_layers = depth;
  return c;
}

GenerateResult continue_greedily(Engine& e, std::span<const int32_t> prompt, int64_t drafts) {
  return generate(e, prompt, {.max_new_tokens = 40, .drafts = drafts});
}

TEST(Speculation, GreedyTextIsTheSame) {
  ThreadPool pool(1);
  SpeculationCounts total;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const int64_t depth = 1 + static_cast<int64_t>(seed % 2);
    const GemmPrecision precision = seed % 3 == 0 ? GemmPrecision::kF32 : GemmPrecision::kBF16;
    const ModelConfig config = tiny_config(seed < 3 ? 3 : 61, depth);
    const TestModel model(config, DType::kBF16, seed);
    Engine e(*model, pool, {.precision = precision, .mtp = true});
    for (uint64_t p = 0; p < 3; ++p) {
      const auto prompt = random_tokens(config, 1 + 7 * static_cast<int64_t>(p), p);
      const auto expected = continue_greedily(e, prompt, 0).ids;
      ASSERT_EQ(expected.size(), 40u);
      for (const int64_t drafts : {1, 2, 5}) {
        const GenerateResult r = continue_greedily(e, prompt, drafts);
        EXPECT_EQ(r.ids, expected) << "seed " << seed << ", " << drafts << " drafts";
        total.drafted += r.mtp.drafted;
        total.accepted += r.mtp.accepted;
      }
    }
  }
  EXPECT_GT(total.accepted, 20);  // the test is about accepted drafts too
  EXPECT_LT(total.accepted, total.drafted);
}

TEST(Speculation, GreedyTextIsTheSameWithPenalty) {
  ThreadPool pool(1);
  const ModelConfig config = tiny_config(61, 1);
  const TestModel model(config, DType::kBF16, 2);
  Engine e(*model, pool, {.mtp = true});
  const auto prompt = random_tokens(config, 10, 1);
  GenerateOptions options{.max_new_tokens = 40, .sampler = {.repetition_penalty = 1.3f}};
  const auto expected = generate(e, prompt, options).ids;
  options.drafts = 3;
  EXPECT_EQ(generate(e, prompt, options).ids, expected);
}

/// Makes every layer add nothing, and the module pass on the next token's embedding: then drafts
/// say what the main model will say.
void make_drafts_right(const ModelConfig& config, ModelWeights& weights) {
  const auto adds = [](const std::string& name) {
    return name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
  };
  for_each_parameter(config, weights, [&](const ParameterInfo& info, Parameter& p) {
    float* w = p.weight.as<float>();
    const bool merges = info.name.ends_with("eh_proj.weight");
    if (adds(info.name) || merges) std::fill_n(w, p.weight.elements(), 0.0f);
    for (int64_t d = 0; merges && d < config.hidden_size; ++d) w[d * p.weight.stride[0] + d] = 1;
  });
}

TEST(Speculation, RightDraftsAreAllAccepted) {
  ThreadPool pool(1);
  const ModelConfig config = tiny_config(61, 1);
  TestModel model(config, DType::kF32, 2);
  make_drafts_right(config, model.weights());
  Engine e(*model, pool, {.precision = GemmPrecision::kF32, .mtp = true});
  const auto prompt = random_tokens(config, 10, 1);
  const auto expected = continue_greedily(e, prompt, 0).ids;
  for (const int64_t drafts : {1, 3, 12}) {  // 39 tokens after the first
    const GenerateResult r = continue_greedily(e, prompt, drafts);
    EXPECT_EQ(r.ids, expected);
    EXPECT_EQ(r.mtp.accepted, r.mtp.drafted);
    // drafts + 1 tokens a step, but no more drafts than tokens that are still wanted after one.
    EXPECT_EQ(r.mtp.drafted, 39 - (39 + drafts) / (drafts + 1));
  }
}

/// Probabilities of all continuations by `length` tokens, in the order of their digits base V.
std::vector<double> enumerate(CachedModel& model, const Sampler& sampler,
                              std::vector<int32_t> prompt, int64_t length) {
  Reader reader(model);
  reader.stream(std::span(prompt).first(prompt.size() - 1));
  const auto p = sampler.distribution(reader.stream(std::span(prompt).last(1)), prompt);
  std::vector<double> result;
  prompt.push_back(0);
  for (size_t v = 0; v < p.size(); ++v) {
    prompt.back() = static_cast<int32_t>(v);
    if (length == 1) {
      result.push_back(p[v]);
      continue;
    }
    for (const double rest : enumerate(model, sampler, prompt, length - 1))
      result.push_back(p[v] * rest);
  }
  return result;
}

struct SampledCase {
  int64_t depth, drafts;
  SamplerOptions sampler;
};

class SampledSpeculation : public testing::TestWithParam<SampledCase> {};

TEST_P(SampledSpeculation, DistributionOfTextIsExact) {
  constexpr int64_t kLength = 3, kVocab = 4;
  constexpr int kTexts = 2000;
  const SampledCase& c = GetParam();
  ThreadPool pool(1);
  const ModelConfig config = tiny_config(kVocab, c.depth);
  const TestModel model(config, DType::kF32, 5);
  Engine e(*model, pool, {.precision = GemmPrecision::kF32, .mtp = true});
  const std::vector<int32_t> prompt = {1, 3, 2};
  CachedModel cached(*model, pool, {.precision = GemmPrecision::kF32, .cache_tokens = 512});
  const auto expected = enumerate(cached, Sampler(c.sampler), prompt, kLength);
  std::vector<int> count(expected.size());
  SpeculationCounts total;
  for (int i = 0; i < kTexts; ++i) {
    GenerateOptions options{.max_new_tokens = kLength, .sampler = c.sampler, .drafts = c.drafts};
    options.sampler.seed = static_cast<uint64_t>(i);
    const GenerateResult r = generate(e, prompt, options);
    size_t index = 0;
    for (const int32_t id : r.ids) index = index * kVocab + static_cast<size_t>(id);
    ++count[index];
    total.drafted += r.mtp.drafted;
    total.accepted += r.mtp.accepted;
  }
  EXPECT_LT(excess(count, expected), kExcess);
  if (c.drafts > 0) {
    EXPECT_GT(total.accepted, 0);
    EXPECT_LT(total.accepted, total.drafted);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Options, SampledSpeculation,
    testing::Values(SampledCase{1, 0, {.temperature = 1}}, SampledCase{1, 1, {.temperature = 1}},
                    SampledCase{1, 3, {.temperature = 1.5f}}, SampledCase{2, 2, {.temperature = 2}},
                    SampledCase{
                        2, 2, {.temperature = 1.5f, .top_k = 3, .repetition_penalty = 1.4f}},
                    SampledCase{1, 2, {.temperature = 1.2f, .top_p = 0.8f, .min_p = 0.1f}}));

TEST(Speculation, StopsAtTheContextsEnd) {
  ThreadPool pool(1);
  const ModelConfig config = tiny_config(5, 1);
  const TestModel model(config, DType::kF32, 1, 20);
  Engine e(*model, pool, {.precision = GemmPrecision::kF32, .mtp = true});
  const auto prompt = random_tokens(config, 8, 1);
  for (const int64_t drafts : {0, 1, 5}) {
    const GenerateResult r = generate(e, prompt, {.drafts = drafts});
    EXPECT_EQ(r.ids.size(), 12u);
    EXPECT_EQ(r.finish_reason, FinishReason::kLength);
  }
}

/// The share of steps of a long run that made so many drafts. Each draft after an accepted one is
/// accepted with the same probability; a step of k drafts takes 1 + k · cost.
std::vector<double> shares_of_drafts(double accepted, double cost, int64_t most) {
  DraftPolicy policy;
  std::mt19937 random(7);
  std::vector<double> share(static_cast<size_t>(most) + 1);
  constexpr int64_t kSteps = 4000;
  for (int64_t step = 0; step < kSteps; ++step) {
    const int64_t drafts = policy.drafts(1, most);
    int64_t reached = 0;
    while (reached < drafts && std::bernoulli_distribution(accepted)(random)) ++reached;
    const DraftPolicy::Outcome outcome{drafts, reached};
    policy.record(drafts, 1 + static_cast<double>(drafts) * cost, {&outcome, 1});
    share[static_cast<size_t>(drafts)] += 1.0 / kSteps;
  }
  return share;
}

TEST(DraftPolicy, DraftsAsManyAsAreWorthIt) {
  // Seconds a token, (1 + k·cost)·(1 - a)/(1 - a^(k+1)), are least at 0, 1 and 3 drafts.
  EXPECT_GT(shares_of_drafts(0.3, 0.5, 3)[0], 0.8);
  EXPECT_GT(shares_of_drafts(0.4, 0.25, 3)[1], 0.8);
  EXPECT_GT(shares_of_drafts(0.9, 0.1, 3)[3], 0.8);
}

TEST(DraftPolicy, KnowsEachBatchSize) {
  DraftPolicy policy;
  for (int i = 0; i < 40; ++i) {
    const int64_t one = policy.drafts(1, 1), many = policy.drafts(8, 1);
    const DraftPolicy::Outcome outcome{one, one};
    policy.record(one, one ? 1.1 : 1, {&outcome, 1});
    const std::vector<DraftPolicy::Outcome> outcomes(8, {many, many});
    policy.record(many, many ? 3 : 1, outcomes);
  }
  EXPECT_EQ(policy.drafts(1, 1), 1);
  EXPECT_EQ(policy.drafts(8, 1), 0);
}

}  // namespace
}  // namespace fathom
