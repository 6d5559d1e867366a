// Passes over latent caches against the training forward, and against each other bit by bit.
#include "infer/cached_model.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "infer/infer_test.h"
#include "infer/mtp_drafter.h"

namespace fathom {
namespace {

using enum TokenForm;
using kernels::LatentCacheFormat;

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

class CachedModels : public testing::TestWithParam<Case> {
 protected:
  const ModelConfig& config() const { return GetParam().named.config; }
  GemmPrecision precision() const { return GetParam().precision; }
  DType weight_dtype() const { return precision() == kF32 ? DType::kF32 : DType::kBF16; }
  CachedModel cached(std::optional<LatentCacheFormat> format = {}) {
    return {
        *model_, pool_, {.precision = precision(), .cache_format = format, .cache_tokens = 512}};
  }

  ThreadPool pool_{1};
  TestModel model_{config(), weight_dtype(), 7};
};

TEST_P(CachedModels, EqualFullForwardInEitherForm) {
  const auto tokens = random_tokens(config(), 100, 1);
  const FullLogits full(*model_, pool_, precision(), tokens);
  CachedModel model = cached();
  for (const TokenForm form : {kStreamed, kPacked}) {
    Reader reader(model);
    auto logits = reader.read(form, std::span(tokens).first(80));
    for (size_t i = 80; i < tokens.size(); ++i)
      extend(logits, reader.stream(std::span(tokens).subspan(i, 1)));
    expect_close(logits, full.depths[0], config().vocab_size, precision());
  }
}

// Chunks change nothing: with each format of the cache, whose rounding is part of the model.
TEST_P(CachedModels, CuttingTokensIntoPassesChangesNoBit) {
  const auto tokens = random_tokens(config(), 101, 3);
  for (const auto format :
       {LatentCacheFormat::kF32, LatentCacheFormat::kBF16, LatentCacheFormat::kFP8}) {
    CachedModel model = cached(format);
    for (const TokenForm form : {kStreamed, kPacked}) {
      Reader whole(model), cut(model);
      const auto expected = whole.read(form, tokens);
      std::vector<float> logits;
      size_t next = 0;
      for (const size_t count : {2, 1, 16, 5, 33, 44}) {
        extend(logits, cut.read(form, std::span(tokens).subspan(next, count)));
        next += count;
      }
      ASSERT_EQ(next, tokens.size());
      EXPECT_EQ(logits, expected) << static_cast<int>(format);
    }
  }
}

TEST_P(CachedModels, OtherSequencesChangeNoBit) {
  CachedModel model = cached();
  const int64_t vocab = config().vocab_size;
  for (const TokenForm form : {kStreamed, kPacked}) {
    std::vector<std::vector<int32_t>> tokens;
    std::vector<std::vector<float>> expected;
    std::vector<std::unique_ptr<Reader>> readers;
    std::vector<CachedModel::Tokens> parts;
    for (uint64_t s = 0; s < 4; ++s) {
      tokens.push_back(random_tokens(config(), 30 + 11 * static_cast<int64_t>(s), s));
      Reader alone(model);
      alone.stream(std::span(tokens[s]).first(9));
      expected.push_back(alone.read(form, std::span(tokens[s]).subspan(9)));
      readers.push_back(std::make_unique<Reader>(model));
      readers[s]->stream(std::span(tokens[s]).first(9));
      ASSERT_TRUE(readers[s]->cache().reserve(std::ssize(tokens[s])));
    }
    for (size_t s = 0; s < 4; ++s)
      parts.push_back({&readers[s]->cache(), std::span(tokens[s]).subspan(9)});
    const ArenaScope scope(model.arena());
    const auto logits = Reader::logits_of(model, model.forward(form, parts));
    auto row = logits.begin();
    for (size_t s = 0; s < 4; ++s) {
      const long count = static_cast<long>(expected[s].size());
      EXPECT_EQ(std::vector<float>(row, row + count), expected[s]) << "sequence " << s;
      row += count;
    }
    EXPECT_EQ(row, logits.end());
    EXPECT_EQ(std::ssize(logits) % vocab, 0);
  }
}

// An E4M3 value errs by 2^-4 of itself at most, 2^-5/sqrt(3) = 1.8e-2 on average. Three layers
// whose inputs are at most wholly attention's add 3.1e-2 in quadrature, times the same 6: 0.19. A
// gate may send a token to another expert, so this holds for the median row.
TEST_P(CachedModels, Fp8CacheStaysClose) {
  const auto tokens = random_tokens(config(), 100, 4);
  CachedModel model = cached(LatentCacheFormat::kFP8), exact = cached();
  Reader rounded(model), reader(exact);
  const auto logits = rounded.stream(tokens), expected = reader.stream(tokens);
  std::vector<double> errors;
  for (auto a = logits.begin(), b = expected.begin(); a != logits.end();
       a += config().vocab_size, b += config().vocab_size)
    errors.push_back(relative_error({a, a + config().vocab_size}, {b, b + config().vocab_size}));
  std::ranges::nth_element(errors, errors.begin() + 50);
  EXPECT_LT(errors[50], 0.19);
  EXPECT_GT(errors[50], 1e-4);
}

TEST_P(CachedModels, ForgettingLeavesNoTrace) {
  const auto tokens = random_tokens(config(), 30, 4), other = random_tokens(config(), 30, 5);
  CachedModel model = cached();
  Reader straight(model), back(model);
  straight.stream(std::span(tokens).first(20));
  const auto expected = straight.stream(std::span(tokens).subspan(20, 10));
  back.stream(std::span(tokens).first(20));
  back.stream(std::span(other).first(9));
  back.cache().set_length(20);
  EXPECT_EQ(back.stream(std::span(tokens).subspan(20, 10)), expected);
}

std::vector<Case> cases() {
  std::vector<Case> list;
  for (const NamedConfig& named : all_configs())
    for (const GemmPrecision precision : {kF32, kBF16}) list.push_back({named, precision});
  return list;
}

INSTANTIATE_TEST_SUITE_P(All, CachedModels, testing::ValuesIn(cases()), [](const auto& info) {
  return info.param.named.name + (info.param.precision == kF32 ? "_f32" : "_bf16");
});

class CachedModelTest : public testing::Test {
 protected:
  ThreadPool pool_{1};
  ModelConfig config_ = small_config();
};

TEST_F(CachedModelTest, ResultsDoNotDependOnThreads) {
  const TestModel model(config_, DType::kBF16, 1);
  const auto tokens = random_tokens(config_, 40, 6);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    CachedModel cached(*model, pool, {});
    Reader reader(cached);
    results.push_back(reader.read(kPacked, std::span(tokens).first(30)));
    extend(results.back(), reader.stream(std::span(tokens).subspan(30)));
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST_F(CachedModelTest, Float32WeightsRunInBothPrecisions) {
  config_.n_routed_experts = 0;
  const TestModel model(config_, DType::kF32, 1);
  const auto tokens = random_tokens(config_, 20, 6);
  CachedModel exact(*model, pool_, {.precision = kF32}), rounded(*model, pool_, {});
  Reader a(rounded), b(exact);
  EXPECT_LT(relative_error(a.stream(tokens), b.stream(tokens)), tolerance(kBF16));
}

TEST_F(CachedModelTest, CacheHoldsLatentWidthPerTokenAndLayer) {
  const TestModel model(config_, DType::kBF16, 1);
  const auto bytes = [&](CacheOptions options) {
    options.cache_tokens = 128;
    CachedModel cached(*model, pool_, options);
    Reader reader(cached);
    EXPECT_EQ(cached.pages().allocated_bytes(), 0);
    reader.stream(random_tokens(config_, 65, 1));
    EXPECT_FALSE(reader.cache().reserve(129));
    return cached.pages().allocated_bytes();
  };
  EXPECT_EQ(bytes({}), 128 * 3 * (32 + 8) * 2);
  EXPECT_EQ(bytes({.precision = kF32}), 128 * 3 * (32 + 8) * 4);
  EXPECT_EQ(bytes({.mtp = true}), 128 * 4 * (32 + 8) * 2);
  EXPECT_EQ(bytes({.cache_format = LatentCacheFormat::kFP8}), 128 * 3 * (32 + 4 + 16));
}

TEST_F(CachedModelTest, SharedPagesGiveTheSameBits) {
  const TestModel model(config_, DType::kBF16, 1);
  const auto tokens = random_tokens(config_, 90, 6);
  CachedModel cached(*model, pool_, {.cache_tokens = 256});
  Reader first(cached);
  first.stream(std::span(tokens).first(80));
  const auto expected = first.stream(std::span(tokens).subspan(80));
  Reader second(cached);
  second.cache().share(first.cache().pages()[0]);
  EXPECT_EQ(cached.pages().references(first.cache().pages()[0]), 2);
  second.stream(std::span(tokens).subspan(64, 16));
  first.cache().clear();
  EXPECT_EQ(second.stream(std::span(tokens).subspan(80)), expected);
  EXPECT_EQ(cached.pages().in_use(), 2);
}

class MtpDepths : public testing::TestWithParam<int> {};

/// A sequence with the modules beside it, as speculation uses them.
struct DraftReader : Reader {
  DraftReader(CachedModel& cached, MtpDrafter& mtp)
      : Reader(cached), model(cached), drafter(mtp), state(mtp.start(0)) {}

  int64_t position() { return cache().length(); }
  MtpDrafter::Sequence view(std::span<const int32_t> sequence) {
    const auto n = static_cast<size_t>(position());
    return {&state, &cache(), sequence.first(n), sequence.subspan(n)};
  }
  void read(TokenForm form, std::span<const int32_t> tokens) {
    FATHOM_ASSERT(cache().reserve(position() + std::ssize(tokens)));
    const ArenaScope scope(model.arena());
    const CachedModel::Tokens part{&cache(), tokens};
    const int64_t begin = position();
    drafter.push(state, begin, model.forward(form, {&part, 1}));
  }
  void catch_up(std::span<const int32_t> sequence) {
    const auto v = view(sequence);
    drafter.catch_up({&v, 1});
  }
  /// What follows the sequence, of which the tokens that were read are the beginning.
  std::vector<float> draft(std::span<const int32_t> sequence) {
    FATHOM_ASSERT(cache().reserve(std::ssize(sequence)));
    Tensor logits_1V(DType::kF32, {1, model.model().config().vocab_size});
    const auto v = view(sequence);
    drafter.draft({&v, 1}, logits_1V);
    return values(logits_1V);
  }
  void forget(int64_t length) {
    cache().set_length(length);
    drafter.truncate(state, length);
  }

  CachedModel& model;
  MtpDrafter& drafter;
  DraftState state;
};

// Reads a sequence as speculation does, some drafts being wrong, and compares every draft with the
// training forward over the same tokens.
TEST_P(MtpDepths, DraftsEqualFullForward) {
  const int depth = GetParam();
  ModelConfig config = small_config();
  config.num_nextn_predict_layers = depth;
  ThreadPool pool(1);
  const TestModel model(config, DType::kF32, 3);
  const auto tokens = random_tokens(config, 60, 8), wrong = random_tokens(config, 60, 9);
  CachedModel cached(*model, pool, {.precision = kF32, .mtp = true});
  MtpDrafter drafter(cached);
  DraftReader e(cached, drafter);
  e.read(kPacked, std::span(tokens).first(20));
  e.catch_up(std::span(tokens).first(20));
  e.read(kStreamed, std::span(tokens).subspan(20, 10));
  const Philox random(5);
  uint64_t round = 0;
  while (e.position() + depth + 1 < 60) {
    const auto n = static_cast<size_t>(e.position());
    std::vector<int32_t> sequence(tokens.begin(), tokens.begin() + static_cast<long>(n) + 1);
    const uint64_t good = random.below(round++, static_cast<uint64_t>(depth) + 1);
    for (size_t k = 1; k <= static_cast<size_t>(depth); ++k) {
      const auto logits = e.draft(sequence);
      const FullLogits full(*model, pool, kF32, sequence);
      const std::vector<float> expected(full.depths[k].end() - config.vocab_size,
                                        full.depths[k].end());
      EXPECT_LT(relative_error(logits, expected), tolerance(kF32)) << "position " << n;
      sequence.push_back(k <= good ? tokens[n + k] : wrong[n + k]);
    }
    e.read(kStreamed, std::span<const int32_t>(sequence).subspan(n));
    e.forget(static_cast<int64_t>(n + 1 + good));
    if (round % 3 == 0)
      e.read(kStreamed, std::span(tokens).subspan(static_cast<size_t>(e.position()), 1));
  }
}

INSTANTIATE_TEST_SUITE_P(OneToThree, MtpDepths, testing::Values(1, 2, 3));

TEST_F(CachedModelTest, LastModuleDraftsFurtherFromItsOwnRepresentation) {
  const TestModel model(config_, DType::kBF16, 1);
  const auto tokens = random_tokens(config_, 40, 6);
  CachedModel cached(*model, pool_, {.mtp = true});
  MtpDrafter drafter(cached);
  DraftReader drafted(cached, drafter), fresh(cached, drafter);
  const auto further = [&](DraftReader& e) {
    std::vector<float> logits;
    for (int64_t k = 1; k <= 4; ++k)
      extend(logits, e.draft(std::span(tokens).first(static_cast<size_t>(e.position() + k))));
    return logits;
  };
  drafted.read(kStreamed, std::span(tokens).first(20));
  further(drafted);
  drafted.read(kStreamed, std::span(tokens).subspan(20, 5));
  drafted.forget(22);
  fresh.read(kStreamed, std::span(tokens).first(20));
  fresh.read(kStreamed, std::span(tokens).subspan(20, 2));
  EXPECT_EQ(further(drafted), further(fresh));
}

/// The halves of kv_b_proj as GGUF files hold them; the whole becomes zeros.
void split_kv_b(const ModelConfig& c, MlaWeights& w, std::vector<Tensor>& owned) {
  const int64_t heads = c.num_attention_heads, latent = c.kv_lora_rank;
  const int64_t nope = c.qk_nope_head_dim, v = c.v_head_dim;
  Tensor key_XN(DType::kF32, {heads * latent, nope}), value_XC(DType::kF32, {heads * v, latent});
  const float* from = w.kv_b_proj.weight.as<float>();
  for (int64_t h = 0; h < heads; ++h, from += (nope + v) * latent) {
    for (int64_t n = 0; n < nope; ++n)
      for (int64_t i = 0; i < latent; ++i)
        key_XN.as<float>()[(h * latent + i) * nope + n] = from[n * latent + i];
    std::copy_n(from + nope * latent, v * latent, value_XC.as<float>() + h * v * latent);
  }
  w.absorbed_key = key_XN.view();
  w.absorbed_value = value_XC.view();
  owned.push_back(std::move(key_XN));
  owned.push_back(std::move(value_XC));
  owned.emplace_back(DType::kF32, std::initializer_list<int64_t>{heads * (nope + v), latent});
  w.kv_b_proj.weight = owned.back();
}

TEST_F(CachedModelTest, HalvesOfKvBAreMultipliedAsTheFileHasThem) {
  ModelStorage storage(config_, DType::kF32, false);
  initialize(config_, storage.weights, 1);
  ModelWeights split = storage.weights;
  std::vector<Tensor> owned;
  for (BlockWeights& layer : split.layers) split_kv_b(config_, layer.self_attn, owned);
  const Transformer of_whole(config_, storage.weights, 128), of_halves(config_, split, 128);
  const CacheOptions options{.precision = kF32, .cache_tokens = 128};
  CachedModel whole(of_whole, pool_, options), halves(of_halves, pool_, options);
  Reader expected(whole), actual(halves);
  const auto tokens = random_tokens(config_, 70, 1);
  EXPECT_EQ(actual.stream(tokens), expected.stream(tokens));
}

TEST_F(CachedModelTest, DraftsOfSeveralSequencesAreThoseOfEach) {
  config_.num_nextn_predict_layers = 2;
  const TestModel model(config_, DType::kBF16, 1);
  CachedModel cached(*model, pool_, {.cache_tokens = 1024, .mtp = true});
  MtpDrafter drafter(cached);
  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::unique_ptr<DraftReader>> together, alone;
  for (uint64_t s = 0; s < 3; ++s) {
    tokens.push_back(random_tokens(config_, 20 + 3 * static_cast<int64_t>(s), s));
    for (auto* list : {&together, &alone}) {
      list->push_back(std::make_unique<DraftReader>(cached, drafter));
      list->back()->read(kStreamed, std::span(tokens[s]).first(tokens[s].size() - 3));
      ASSERT_TRUE(list->back()->cache().reserve(40));
    }
  }
  Tensor logits_SV(DType::kF32, {3, config_.vocab_size});
  for (size_t step = 1; step <= 3; ++step) {
    std::vector<MtpDrafter::Sequence> views;
    std::vector<float> expected;
    for (size_t s = 0; s < 3; ++s) {
      const auto sequence = std::span(tokens[s]).first(tokens[s].size() - 3 + step);
      views.push_back(together[s]->view(sequence));
      extend(expected, alone[s]->draft(sequence));
    }
    drafter.draft(views, logits_SV);
    EXPECT_EQ(values(logits_SV), expected) << "step " << step;
  }
}

}  // namespace
}  // namespace fathom
