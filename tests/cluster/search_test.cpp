#include "cluster/search.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace fathom::cluster {
namespace {

SearchOptions narrow() {
  SearchOptions options;
  options.max_tp = 1;
  options.schedules = {dist::ScheduleKind::kDualPipe};
  return options;
}

TEST(Search, FindsTheReportsLayoutAmongTheFeasible) {
  const Catalogue catalogue = Catalogue::built_in();
  Worksheet sheet;
  const SearchResult result =
      search_layouts(model_shape("deepseek-v3"), catalogue.gpu("h800"), narrow(), sheet);
  const auto published =
      std::find_if(result.candidates.begin(), result.candidates.end(),
                   [](const Candidate& c) { return c.layout.pp == 16 && c.layout.ep == 64; });
  ASSERT_NE(published, result.candidates.end());
  EXPECT_LT(published->plan.step, 1.25 * result.candidates.front().plan.step);
  EXPECT_TRUE(result.candidates.front().pareto);
}

TEST(Search, PlansStepsWithTheGivenImbalance) {
  const Catalogue catalogue = Catalogue::built_in();
  SearchOptions options = narrow();
  options.expert_imbalance = 1.3;
  Worksheet sheet;
  const SearchResult result =
      search_layouts(model_shape("deepseek-v3"), catalogue.gpu("h800"), options, sheet);
  const Candidate& fastest = result.candidates.front();
  TrainOptions train;
  train.layout = fastest.layout;
  train.expert_imbalance = 1.3;
  EXPECT_EQ(plan_train(model_shape("deepseek-v3"), catalogue.gpu("h800"), train, sheet).step,
            fastest.plan.step);
}

TEST(Search, ParetoPointsDominateEachOtherInNothing) {
  const Catalogue catalogue = Catalogue::built_in();
  Worksheet sheet;
  const SearchResult result =
      search_layouts(model_shape("deepseek-v3"), catalogue.gpu("h200"), narrow(), sheet);
  double memory = 1e9;  // sorted by time: each further point must save memory
  for (const Candidate& c : result.candidates) {
    if (!c.pareto) continue;
    EXPECT_LT(c.plan.memory_gib, memory);
    memory = c.plan.memory_gib;
  }
}

TEST(Search, DoesNotDependOnThreads) {
  Catalogue catalogue = Catalogue::built_in();
  catalogue.set("h800.nic_gb_s=60");
  SearchOptions options = narrow();
  Worksheet one, four;
  const SearchResult a =
      search_layouts(model_shape("deepseek-v3"), catalogue.gpu("h800"), options, one);
  options.threads = 4;
  const SearchResult b =
      search_layouts(model_shape("deepseek-v3"), catalogue.gpu("h800"), options, four);
  ASSERT_EQ(a.candidates.size(), b.candidates.size());
  for (size_t i = 0; i < a.candidates.size(); ++i) {
    EXPECT_EQ(a.candidates[i].layout.name(), b.candidates[i].layout.name());
    EXPECT_EQ(a.candidates[i].plan.step, b.candidates[i].plan.step);
    EXPECT_EQ(a.candidates[i].pareto, b.candidates[i].pareto);
  }
  EXPECT_EQ(one.assumptions().size(), four.assumptions().size());
  catalogue.check_overrides_used();
}

TEST(Search, SaysWhatCameNearest) {
  Catalogue catalogue = Catalogue::built_in();
  catalogue.set("h800.memory_gib=10");
  Worksheet sheet;
  try {
    search_layouts(model_shape("deepseek-v3"), catalogue.gpu("h800"), narrow(), sheet);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(e.hint().find("GiB"), std::string::npos) << e.hint();
  }
}

}  // namespace
}  // namespace fathom::cluster
