// Absorbed decode on AMX tiles on any machine: the same code compiled against emulated tiles
// (cpu/amx_tile.h).
#include "kernels/attention_cache.h"
#include "kernels/cpu/attention_decode.h"

namespace fathom::attention_test {
namespace {

using kernels::cpu::amx_emulated::kLatentBF16;

void run(const DecodeProblem& p, const LatentCacheView& view) {
  TestContext t;
  kernels::cpu::absorbed_decode(t.ctx, {p.q_latent, p.q_rope(), view, p.position, p.scale, p.out},
                                kLatentBF16);
}

TEST(AmxDecode, MatchesReference) {
  for (LatentCacheFormat f : {LatentCacheFormat::kBF16, LatentCacheFormat::kFP8}) {
    std::vector<DecodeProblem> list;
    list.emplace_back(3, LatentRowLayout{f, 20, 4}, 10, std::vector<int32_t>{0, 9, 4});
    list.emplace_back(16, LatentRowLayout{f, 128, 64}, 300, std::vector<int32_t>{290});
    list.emplace_back(18, LatentRowLayout{f, 96, 32}, 300, consecutive(254, 4));
    list.emplace_back(40, LatentRowLayout{f, 64, 32}, 600, std::vector<int32_t>{599, 31, 300});
    for (const DecodeProblem& p : list) {
      SCOPED_TRACE(describe(p.q_latent) + " over " + describe(p.cache.memory));
      run(p, p.cache.view());
      p.expect_correct();
      const auto contiguous = p.result();
      run(p, p.cache.paged_view());
      EXPECT_EQ(contiguous, p.result());
    }
  }
}

TEST(AmxDecode, NanHarmsOnlyWhoSeesIt) {
  DecodeProblem p(4, {LatentCacheFormat::kBF16, 32, 32}, 300, {100, 101, 130, 5});
  run(p, p.cache.view());
  const auto before = p.result();
  p.cache.latent.as<float>()[101 * 32 + 5] = NAN;
  p.cache.append();
  run(p, p.cache.view());
  const auto after = p.result();
  const size_t token = 4 * 32;
  for (size_t i = 0; i < after.size(); ++i) {
    if (i / token == 1 || i / token == 2)
      EXPECT_TRUE(std::isnan(after[i])) << i;
    else
      EXPECT_EQ(before[i], after[i]) << i;
  }
}

}  // namespace
}  // namespace fathom::attention_test
