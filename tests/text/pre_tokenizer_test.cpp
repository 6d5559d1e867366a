#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include "fixtures.h"

namespace fathom {
namespace {

std::vector<std::string> pieces(const PreTokenizer& pre_tokenizer, std::string_view text) {
  PreTokenizer::Scratch scratch;
  std::vector<std::string> out;
  for (const TextSpan& s : pre_tokenizer.split(text, scratch)) {
    out.emplace_back(text.substr(s.begin, s.end - s.begin));
  }
  return out;
}

SplitBehavior behavior_named(const std::string& name) {
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return SplitBehavior::kIsolated;
}

TEST(PreTokenizer, SplitsLikeHuggingFace) {
  const nlohmann::json golden = fixture_json("splits.json");
  for (const auto& c : golden["cases"]) {
    const std::string pattern = c["pattern"];
    std::vector<SplitStep> steps;
    steps.push_back({Regex(parse_regex(pattern)), behavior_named(c["behavior"]), c["invert"]});
    const PreTokenizer pre_tokenizer(std::move(steps));
    for (size_t i = 0; i < golden["texts"].size(); ++i) {
      const std::string text = golden["texts"][i];
      EXPECT_EQ(pieces(pre_tokenizer, text), c["pieces"][i].get<std::vector<std::string>>())
          << pattern << " " << c["behavior"] << " invert " << c["invert"] << " on '" << text << "'";
    }
  }
}

/// Cutting wherever may_cut allows must leave the pieces as they are.
TEST(PreTokenizer, CutsChangeNothing) {
  const PreTokenizer v3 = PreTokenizer::deepseek_v3();
  for (uint32_t seed = 0; seed < 10; ++seed) {
    const std::string text = random_text(seed, 5000, seed % 2 == 0);
    std::vector<std::string> joined;
    size_t cuts = 0;
    for (size_t begin = 0; begin < text.size(); ++cuts) {
      const size_t end = v3.next_cut(text, begin + 1);
      for (std::string& p : pieces(v3, std::string_view(text).substr(begin, end - begin))) {
        joined.push_back(std::move(p));
      }
      begin = end;
    }
    EXPECT_EQ(joined, pieces(v3, text)) << "seed " << seed;
    EXPECT_GT(cuts, 100u);
  }
}

TEST(PreTokenizer, KnowsTheSafePlacesOfDeepSeekV3) {
  const PreTokenizer v3 = PreTokenizer::deepseek_v3();
  EXPECT_TRUE(v3.may_cut('d', ' '));
  EXPECT_TRUE(v3.may_cut('d', '.'));
  EXPECT_TRUE(v3.may_cut(0x4E2D, 0x3002));
  EXPECT_FALSE(v3.may_cut(' ', 'd'));
  EXPECT_FALSE(v3.may_cut('d', 'e'));
  EXPECT_FALSE(v3.may_cut('1', '2'));
  EXPECT_FALSE(v3.may_cut('.', '\n'));
  EXPECT_FALSE(v3.may_cut(' ', '\n'));
}

}  // namespace
}  // namespace fathom
