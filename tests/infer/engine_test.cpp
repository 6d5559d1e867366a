#include "infer/engine.h"

#include <gtest/gtest.h>

#include "infer/infer_test.h"

namespace fathom {
namespace {

constexpr GemmPrecision kF32 = GemmPrecision::kF32, kBF16 = GemmPrecision::kBF16;

// FP32: both sides sum products of widths up to K = 96 in different orders, an error of about
// sqrt(K)·2^-24/sqrt(3) of the norm each; 3 layers of about 10 products each add in quadrature
// (sqrt(30)), and a factor of 6 is left for softmax and gate, which amplify: 1.1e-5.
// BF16: about 10 activations a layer are rounded (2^-9/sqrt(3) on average), at places that differ
// between the two forms of attention: sqrt(30)·2^-9/sqrt(3) = 6.2e-3, times the same 6.
double tolerance(GemmPrecision precision) {
  return precision == kF32 ? 1.1e-5 : 3.7e-2;
}

/// Every row of logits within the tolerance. In BF16 one row in ten may be off: rounding can send a
/// token to another expert.
void expect_close(const std::vector<float>& logits, std::vector<float> expected, int64_t vocab,
                  GemmPrecision precision) {
  expected.erase(expected.begin(), expected.end() - static_cast<long>(logits.size()));
  int64_t rows = 0, off = 0;
  for (auto a = logits.begin(), b = expected.cbegin(); a != logits.end(); a += vocab, b += vocab) {
    off += !(relative_error({a, a + vocab}, {b, b + vocab}) < tolerance(precision));
    ++rows;
  }
  EXPECT_LE(off, precision == kF32 ? 0 : rows / 10) << "of " << rows << " rows";
}

struct Case {
  NamedConfig named;
  GemmPrecision precision;
};

class EngineOverConfigs : public testing::TestWithParam<Case> {
 protected:
  const ModelConfig& config() const { return GetParam().named.config; }
  GemmPrecision precision() const { return GetParam().precision; }
  DType weight_dtype() const { return precision() == kF32 ? DType::kF32 : DType::kBF16; }
  Engine engine(int64_t prefill_chunk = 2048, int64_t extend_chunk = 256) {
    return Engine(
        *model_, pool_,
        {.precision = precision(), .prefill_chunk = prefill_chunk, .extend_chunk = extend_chunk});
  }

  ThreadPool pool_{1};
  TestModel model_{config(), weight_dtype(), 7};
};

TEST_P(EngineOverConfigs, CachedDecodeEqualsFullForward) {
  const auto tokens = random_tokens(config(), 40, 1);
  const FullLogits full(*model_, pool_, precision(), tokens);
  Engine e = engine();
  std::vector<float> logits = values(e.prefill(std::span(tokens).first(20)));
  for (size_t i = 20; i < tokens.size(); ++i)
    append(logits, e.decode(std::span(tokens).subspan(i, 1)));
  expect_close(logits, full.depths[0], config().vocab_size, precision());
}

TEST_P(EngineOverConfigs, PrefillInChunksEqualsFullForward) {
  const auto tokens = random_tokens(config(), 80, 2);
  const FullLogits full(*model_, pool_, precision(), tokens);
  Engine e = engine(24, 17);
  std::vector<float> logits = values(e.prefill(std::span(tokens).first(61)));
  append(logits, e.decode(std::span(tokens).subspan(61, 10)));
  append(logits, e.decode(std::span(tokens).subspan(71, 9)));
  EXPECT_EQ(e.position(), 80);
  expect_close(logits, full.depths[0], config().vocab_size, precision());
}

TEST_P(EngineOverConfigs, SplittingTokensOverDecodesChangesNoBit) {
  const auto tokens = random_tokens(config(), 64, 3);
  Engine one = engine(), many = engine();
  std::vector<float> expected, logits;
  for (size_t i = 0; i < tokens.size(); ++i)
    append(expected, one.decode(std::span(tokens).subspan(i, 1)));
  size_t next = 0;
  for (const size_t count : {2, 3, 1, 16, 5, 13, 8, 16}) {
    append(logits, many.decode(std::span(tokens).subspan(next, count)));
    next += count;
  }
  ASSERT_EQ(next, tokens.size());
  EXPECT_EQ(logits, expected);
}

TEST_P(EngineOverConfigs, TruncationForgetsExactly) {
  const auto tokens = random_tokens(config(), 30, 4), other = random_tokens(config(), 30, 5);
  Engine straight = engine(), back = engine();
  straight.prefill(std::span(tokens).first(20));
  const auto expected = values(straight.decode(std::span(tokens).subspan(20, 10)));
  back.prefill(std::span(tokens).first(20));
  back.decode(std::span(other).first(9));
  back.truncate(20);
  EXPECT_EQ(values(back.decode(std::span(tokens).subspan(20, 10))), expected);
  EXPECT_EQ(back.tokens().size(), 30u);
}

std::vector<Case> cases() {
  std::vector<Case> list;
  for (const NamedConfig& named : all_configs())
    for (const GemmPrecision precision : {kF32, kBF16}) list.push_back({named, precision});
  return list;
}

INSTANTIATE_TEST_SUITE_P(All, EngineOverConfigs, testing::ValuesIn(cases()), [](const auto& info) {
  return info.param.named.name + (info.param.precision == kF32 ? "_f32" : "_bf16");
});

class EngineTest : public testing::Test {
 protected:
  ThreadPool pool_{1};
  ModelConfig config_ = small_config();
};

TEST_F(EngineTest, ResultsDoNotDependOnThreads) {
  const TestModel model(config_, DType::kBF16, 1);
  const auto tokens = random_tokens(config_, 40, 6);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    Engine e(*model, pool, {});
    results.push_back(values(e.prefill(std::span(tokens).first(30))));
    append(results.back(), e.decode(std::span(tokens).subspan(30)));
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST_F(EngineTest, Float32WeightsRunInBothPrecisions) {
  config_.n_routed_experts = 0;
  const TestModel model(config_, DType::kF32, 1);
  const auto tokens = random_tokens(config_, 20, 6);
  Engine exact(*model, pool_, {.precision = kF32}), rounded(*model, pool_, {.precision = kBF16});
  EXPECT_LT(relative_error(values(rounded.prefill(tokens)), values(exact.prefill(tokens))),
            tolerance(kBF16));
}

TEST_F(EngineTest, CacheHoldsLatentWidthPerTokenAndLayer) {
  const TestModel model(config_, DType::kBF16, 1);
  Engine e(*model, pool_, {.max_context = 100});
  e.prefill(random_tokens(config_, 100, 1));
  EXPECT_EQ(e.cache_bytes(), 100u * 3 * (32 + 8) * 2);
}

TEST_F(EngineTest, MemoryDoesNotGrowWithTokens) {
  // 300 passes over one position each: what a pass allocates is given back.
  const TestModel model(config_, DType::kBF16, 1);
  Engine e(*model, pool_, {.mtp = true});
  const std::vector<int32_t> token = {3};
  e.prefill(token);
  for (int i = 0; i < 300; ++i) {
    e.decode(token);
    if (i == 10) e.truncate(1);
    if (e.position() == e.max_context()) e.truncate(1);
  }
  EXPECT_LT(e.workspace_bytes(), size_t{8} << 20);
}

TEST_F(EngineTest, ContextLimitAndForeignTokensAreErrors) {
  const TestModel model(config_, DType::kF32, 1, 16);
  EXPECT_THROW(Engine(*model, pool_, {.max_context = 17}), Error);
  Engine e(*model, pool_, {.precision = kF32});
  EXPECT_EQ(e.max_context(), 16);
  EXPECT_THROW(e.prefill(random_tokens(config_, 17, 1)), Error);
  EXPECT_THROW(e.prefill(std::vector<int32_t>{1, 61}), Error);
  EXPECT_THROW(e.prefill(std::vector<int32_t>{-1}), Error);
  EXPECT_EQ(e.position(), 0);
  e.prefill(random_tokens(config_, 15, 1));
  EXPECT_THROW(e.decode(std::vector<int32_t>{1, 2}), Error);
  e.decode(std::vector<int32_t>{1});
  EXPECT_EQ(e.position(), 16);
  EXPECT_THROW(e.decode(std::vector<int32_t>{1}), Error);
}

TEST_F(EngineTest, MtpNeedsModules) {
  config_.num_nextn_predict_layers = 0;
  const TestModel model(config_, DType::kF32, 1);
  EXPECT_THROW(Engine(*model, pool_, {.mtp = true}), Error);
}

class MtpDepths : public testing::TestWithParam<int> {};

// Reads a sequence as speculation does, some drafts being wrong, and compares every draft with the
// training forward over the same tokens.
TEST_P(MtpDepths, DraftsEqualFullForward) {
  const int depth = GetParam();
  ModelConfig config = small_config();
  config.num_nextn_predict_layers = depth;
  ThreadPool pool(1);
  const TestModel model(config, DType::kF32, 3);
  const auto tokens = random_tokens(config, 60, 8), wrong = random_tokens(config, 60, 9);
  Engine e(*model, pool, {.precision = kF32, .mtp = true, .prefill_chunk = 20, .extend_chunk = 7});
  e.prefill(std::span(tokens).first(30));
  const Philox random(5);
  uint64_t round = 0;
  while (e.position() + depth + 1 < 60) {
    const auto n = static_cast<size_t>(e.position());
    std::vector<int32_t> sequence(tokens.begin(), tokens.begin() + static_cast<long>(n) + 1);
    const uint64_t good = random.below(round++, static_cast<uint64_t>(depth) + 1);
    for (size_t k = 1; k <= static_cast<size_t>(depth); ++k) {
      const auto logits = values(e.draft(std::span<const int32_t>(sequence).subspan(n)));
      const FullLogits full(*model, pool, kF32, sequence);
      const std::vector<float> expected(full.depths[k].end() - config.vocab_size,
                                        full.depths[k].end());
      EXPECT_LT(relative_error(logits, expected), tolerance(kF32)) << "position " << n;
      sequence.push_back(k <= good ? tokens[n + k] : wrong[n + k]);
    }
    e.decode(std::span<const int32_t>(sequence).subspan(n));
    e.truncate(static_cast<int64_t>(n + 1 + good));
    if (round % 3 == 0) e.decode(std::span(tokens).subspan(static_cast<size_t>(e.position()), 1));
  }
}

INSTANTIATE_TEST_SUITE_P(OneToThree, MtpDepths, testing::Values(1, 2, 3));

TEST_F(EngineTest, LastModuleDraftsFurtherFromItsOwnRepresentation) {
  const TestModel model(config_, DType::kBF16, 1);
  const auto tokens = random_tokens(config_, 40, 6);
  Engine drafted(*model, pool_, {.mtp = true}), fresh(*model, pool_, {.mtp = true});
  const auto further = [&](Engine& e) {
    std::vector<float> logits;
    for (size_t k = 1; k <= 4; ++k)
      append(logits, e.draft(std::span(tokens).subspan(static_cast<size_t>(e.position()), k)));
    return logits;
  };
  drafted.prefill(std::span(tokens).first(20));
  further(drafted);
  drafted.decode(std::span(tokens).subspan(20, 5));
  drafted.truncate(22);
  fresh.prefill(std::span(tokens).first(20));
  fresh.decode(std::span(tokens).subspan(20, 2));
  EXPECT_EQ(further(drafted), further(fresh));
}

// More decodes than the queue of waiting positions holds, without a draft.
TEST_F(EngineTest, ModulesKeepUpWithoutDrafts) {
  const TestModel model(config_, DType::kF32, 1);
  const auto tokens = random_tokens(config_, 60, 6);
  Engine e(*model, pool_, {.precision = kF32, .mtp = true});
  e.prefill(std::span(tokens).first(5));
  for (size_t i = 5; i < 59; ++i) e.decode(std::span(tokens).subspan(i, 1));
  const FullLogits full(*model, pool_, kF32, tokens);
  const std::vector<float> expected(full.depths[1].end() - config_.vocab_size,
                                    full.depths[1].end());
  EXPECT_LT(relative_error(values(e.draft(std::span(tokens).subspan(59))), expected),
            tolerance(kF32));
}

}  // namespace
}  // namespace fathom
