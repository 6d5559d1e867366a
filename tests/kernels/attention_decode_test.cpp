// Absorbed decode against kernels/ref. Tolerances as in attention_test.cpp: the score of a latent
// of C + R dimensions with scale 1/√(C+R), an output that averages cache values of size up to 4.
#include "kernels/cpu/attention_decode.h"

#include <memory>

#include "kernels/attention.h"
#include "kernels/attention_cache.h"

namespace fathom::attention_test {
namespace {

using kernels::mla_absorbed_decode;

void run(const DecodeProblem& p, int threads, const LatentCacheView& view) {
  TestContext t(threads);
  mla_absorbed_decode(t.ctx, p.q_latent, p.q_rope(), view, p.position, p.scale, p.out);
}
void run(const DecodeProblem& p, int threads) {
  run(p, threads, p.cache.view());
}
/// Token t in a call of its own.
void run_alone(const DecodeProblem& p, int64_t t, int threads) {
  TestContext context(threads);
  mla_absorbed_decode(context.ctx, p.q_latent.view().row_range(t, 1), p.q_rope().row_range(t, 1),
                      p.cache.view(), std::span(p.position).subspan(static_cast<size_t>(t), 1),
                      p.scale, p.out.view().row_range(t, 1));
}

TEST(AbsorbedDecode, MatchesReference) {
  for (LatentCacheFormat f : kCacheFormats) {
    std::vector<DecodeProblem> list;
    list.emplace_back(3, LatentRowLayout{f, 20, 4}, 10, std::vector<int32_t>{0, 9, 4});
    list.emplace_back(5, LatentRowLayout{f, 13, 3}, 700, consecutive(509, 5));
    list.emplace_back(18, LatentRowLayout{f, 64, 16}, 300, consecutive(254, 4));
    list.emplace_back(16, LatentRowLayout{f, 512, 64}, 1100, std::vector<int32_t>{1098});
    list.emplace_back(16, LatentRowLayout{f, 512, 64}, 600, consecutive(595, 4));
    list.emplace_back(7, LatentRowLayout{f, 300, 64}, 77, std::vector<int32_t>{76, 3});
    list.emplace_back(2, LatentRowLayout{f, 32, 8}, 300, consecutive(250, 40));  // a prefill
    list.emplace_back(70, LatentRowLayout{f, 32, 32}, 2100, std::vector<int32_t>{2099, 17, 4});
    for (const DecodeProblem& p : list) {
      SCOPED_TRACE(describe(p.q_latent) + " over " + describe(p.cache.memory));
      run(p, 2);
      p.expect_correct();
    }
  }
}

TEST(AbsorbedDecode, TakesATensorOfAnyRowStride) {
  for (LatentCacheFormat f : {LatentCacheFormat::kF32, LatentCacheFormat::kBF16}) {
    const DecodeProblem p(4, {f, 64, 32}, 90, {60, 89});
    run(p, 2);
    const auto expected = p.result();
    const DType dtype = f == LatentCacheFormat::kF32 ? DType::kF32 : DType::kBF16;
    const Tensor wide(dtype, {90, 64 + 32 + 5});
    const Tensor values = p.cache.values();
    for (int64_t i = 0; i < 90 * 96; ++i)
      set_element(wide, i / 96 * 101 + i % 96, values.as<float>()[i]);
    TestContext t;
    mla_absorbed_decode(t.ctx, p.q_latent, p.q_rope(), wide.view().col_range(0, 96), p.position,
                        p.scale, p.out);
    EXPECT_EQ(expected, p.result());
  }
}

TEST(AbsorbedDecode, PagesGiveTheBitsOfContiguousRows) {
  for (LatentCacheFormat f : kCacheFormats)
    for (int32_t last : {0, 62, 63, 64, 127, 640, 1290}) {
      const DecodeProblem p(20, {f, 64, 32}, 1300, {last, last / 2});
      run(p, 2);
      const auto expected = p.result();
      run(p, 2, p.cache.paged_view());
      EXPECT_EQ(expected, p.result()) << "position " << last;
    }
}

// What makes speculative decoding exact: verifying drafted tokens gives the bits that decoding them
// one by one would give, and rows that the cache holds beyond them do not matter.
TEST(AbsorbedDecode, BitsDoNotDependOnOtherTokensOrThreads) {
  for (LatentCacheFormat f : kCacheFormats)
    for (int32_t first : {0, 17, 253, 254, 255, 510, 1021}) {
      const DecodeProblem p(20, {f, 40, 8}, 1400, consecutive(first, 4));
      run(p, 1);
      const auto together = p.result();
      for (int threads : {2, 3, 8}) {
        run(p, threads);
        EXPECT_EQ(together, p.result()) << threads << " threads, position " << first;
      }
      for (int64_t t = 0; t < 4; ++t) run_alone(p, t, 1 + static_cast<int>(t));
      EXPECT_EQ(together, p.result()) << "alone, position " << first;
    }
}

TEST(AbsorbedDecode, MemoryForPartialResultsDoesNotMatter) {
  const DecodeProblem p(20, {LatentCacheFormat::kBF16, 32, 32}, 4000, {3999, 2100, 5});
  run(p, 2);
  const auto expected = p.result();
  for (int threads : {1, 2}) {
    TestContext t(threads);
    kernels::cpu::absorbed_decode(
        t.ctx, {p.q_latent, p.q_rope(), p.cache.view(), p.position, p.scale, p.out},
        kernels::cpu::latent_kernels(t.ctx.isa, kernels::GemmPrecision::kBF16), 1);
    EXPECT_EQ(expected, p.result());
  }
}

TEST(AbsorbedDecode, SequencesTogetherGiveTheBitsOfEach) {
  for (LatentCacheFormat f : kCacheFormats) {
    std::vector<std::unique_ptr<DecodeProblem>> problems;
    for (const int32_t first : {0, 5, 70, 700, 1800, 3})
      problems.push_back(std::make_unique<DecodeProblem>(20, LatentRowLayout{f, 40, 8}, 1900,
                                                         consecutive(first, 1 + first % 4)));
    problems.push_back(
        std::make_unique<DecodeProblem>(20, LatentRowLayout{f, 40, 8}, 300, consecutive(250, 30)));
    std::vector<float> expected;
    for (const auto& p : problems) {
      run(*p, 1);
      const auto one = p->result();
      expected.insert(expected.end(), one.begin(), one.end());
    }
    // Room for all partial results, for some, for none.
    for (const int64_t part_bytes : {int64_t{64} << 20, int64_t{40000}, int64_t{1}})
      for (int threads : {1, 2, 3}) {
        TestContext t(threads);
        std::vector<kernels::cpu::AbsorbedDecode> parts;
        for (const auto& p : problems) {
          std::fill_n(p->out.as<float>(), p->out.view().elements(), 0.0f);
          parts.push_back(
              {p->q_latent, p->q_rope(), p->cache.paged_view(), p->position, p->scale, p->out});
        }
        const auto precision = f == LatentCacheFormat::kF32 ? kernels::GemmPrecision::kF32
                                                            : kernels::GemmPrecision::kBF16;
        kernels::cpu::absorbed_decode(
            t.ctx, parts, kernels::cpu::latent_kernels(t.ctx.isa, precision), part_bytes);
        std::vector<float> together;
        for (const auto& p : problems) {
          const auto one = p->result();
          together.insert(together.end(), one.begin(), one.end());
        }
        EXPECT_EQ(together, expected) << part_bytes << " bytes, " << threads << " threads";
      }
  }
}

TEST(AbsorbedDecode, NanHarmsOnlyWhoSeesIt) {
  for (LatentCacheFormat f : kCacheFormats) {
    DecodeProblem p(4, {f, 24, 8}, 600, {0, 249, 250, 251, 270, 599});
    run(p, 2);
    const auto before = p.result();
    p.cache.latent.as<float>()[251 * 24 + 5] = NAN;
    p.cache.append();
    run(p, 2);
    const auto after = p.result();
    const size_t token = 4 * 24;
    const auto last_untouched = static_cast<ptrdiff_t>(3 * token);
    EXPECT_TRUE(std::equal(before.begin(), before.begin() + last_untouched, after.begin()));
    for (size_t i = 3 * token; i < after.size(); ++i) EXPECT_TRUE(std::isnan(after[i])) << i;
  }
}

// An E4M3 value errs by at most 2^-4 of itself, evenly within that: 2^-4/√3·(2/3) ≈ 0.025 root mean
// square. Scores, sums of C such terms of C + R, err by the same of their spread of 1, so weights
// by 2.5% and values by 2.5%, independently: 3.6% of the output's root mean square.
TEST(AbsorbedDecode, Fp8CacheErrsByFewPercent) {
  const DecodeProblem fp8(16, {LatentCacheFormat::kFP8, 512, 64}, 900, {899, 700});
  const DecodeProblem bf16(16, {LatentCacheFormat::kBF16, 512, 64}, 900, {899, 700});
  run(fp8, 2);
  run(bf16, 2);
  const auto a = fp8.result(), b = bf16.result();
  double error = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += std::pow(a[i] - b[i], 2);
    size += std::pow(b[i], 2);
  }
  EXPECT_LT(std::sqrt(error / size), 0.045);
  EXPECT_GT(std::sqrt(error / size), 0.02);
}

}  // namespace
}  // namespace fathom::attention_test
