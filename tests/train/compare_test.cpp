#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "base/error.h"
#include "temporary_directory.h"
#include "train/compare_svg.h"

namespace fathom::train {
namespace {

RecordedRun run_of(const std::string& name, std::initializer_list<double> losses) {
  RecordedRun run;
  run.name = name;
  for (const double loss : losses) {
    const auto step = static_cast<int64_t>(run.steps.size()) + 1;
    run.steps.push_back({.step = step, .tokens = 64 * step});
    if (std::isfinite(loss)) run.steps.back().loss = loss;
  }
  return run;
}

Comparison compare(std::initializer_list<RecordedRun> runs, const CompareOptions& options) {
  return compare_runs(std::span(runs.begin(), runs.size()), options);
}

TEST(Smoothed, IsTheBiasCorrectedAverage) {
  const std::array<double, 3> x = {8, 4, 2};
  // m = 4, 4, 3; 1 − β^t = 1/2, 3/4, 7/8: all exact in binary.
  const std::vector<double> expected = {8, 4 / 0.75, 3 / 0.875};
  EXPECT_EQ(smoothed(x, 0.5), expected);
  EXPECT_EQ(smoothed(x, 0), std::vector<double>(x.begin(), x.end()));
  const std::vector<double> same = smoothed(std::vector<double>(100, 3.5), 0.9);
  for (const double v : same) EXPECT_NEAR(v, 3.5, 1e-14);
}

TEST(CompareRuns, GivesTheErrorsOfAHandMadePair) {
  RecordedRun a = run_of("a", {8, 8, 4, 4}), b = run_of("b", {8, 10, 5, 4.5, 3});
  const std::array<double, 4> base_speed = {10, 20, 30, 40};
  const std::array<double, 5> speed = {1, 50, 40, 60, 1000};
  for (size_t i = 0; i < 4; ++i) a.steps[i].tokens_per_s = base_speed[i];
  for (size_t i = 0; i < 5; ++i) b.steps[i].tokens_per_s = speed[i];
  a.steps[1].valid_loss = 5;
  a.steps[3].valid_loss = 4;
  b.steps[1].valid_loss = 6;
  b.steps[4].valid_loss = 3;
  b.steps[2].activation_bytes = 100;
  b.steps[3].activation_bytes = 70;
  const Comparison c = compare({a, b}, {.ema = 0, .warmup_steps = 1});
  ASSERT_EQ(c.runs.size(), 2u);
  const ComparedRun& r = c.runs[1];
  EXPECT_EQ(r.error_steps, (std::vector<int64_t>{1, 2, 3, 4}));
  EXPECT_EQ(r.error, (std::vector<double>{0, 0.25, 0.25, 0.125}));
  ASSERT_TRUE(r.errors);
  EXPECT_EQ(r.errors->largest, 0.25);
  EXPECT_EQ(r.errors->largest_step, 2);
  EXPECT_EQ(r.errors->last, 0.125);
  EXPECT_EQ(r.errors->last_step, 4);
  EXPECT_DOUBLE_EQ(r.errors->mean_absolute, 0.625 / 3);
  EXPECT_EQ(r.valid_loss, 3);
  EXPECT_EQ(r.valid_error, 0.2) << "step 2 is the last where both have one";
  EXPECT_EQ(c.runs[0].tokens_per_s, 25);
  EXPECT_EQ(r.tokens_per_s, 50);
  EXPECT_EQ(r.speed_ratio, 2);
  EXPECT_EQ(r.activation_bytes, 100);
  EXPECT_FALSE(r.activation_bytes_per_token);
  EXPECT_FALSE(r.peak_rss_bytes);
  EXPECT_FALSE(c.runs[0].errors) << "of the baseline itself";
  EXPECT_FALSE(r.diverged);
}

TEST(CompareRuns, KeepsTheSignOfTheLargestError) {
  const Comparison c = compare({run_of("a", {4, 4, 4}), run_of("b", {3, 4.5, 4})}, {.ema = 0});
  EXPECT_EQ(c.warmup_steps, 0) << "no configuration says otherwise";
  EXPECT_EQ(c.runs[1].errors->largest, -0.25);
  EXPECT_DOUBLE_EQ(c.runs[1].errors->mean, -0.125 / 3);
  EXPECT_DOUBLE_EQ(c.runs[1].errors->mean_absolute, 0.375 / 3);
  EXPECT_EQ(c.runs[1].errors->largest_step, 1);
}

TEST(CompareRuns, SmoothsBeforeItCompares) {
  const Comparison c = compare({run_of("a", {8, 4}), run_of("b", {8, 5})}, {.ema = 0.5});
  EXPECT_DOUBLE_EQ(c.runs[1].errors->last, (4.5 / 0.75 - 4 / 0.75) / (4 / 0.75));
}

TEST(CompareRuns, SmoothsTheLoadBalanceWhereThereIsOne) {
  RecordedRun a = run_of("a", {4, 4, 4}), b = run_of("b", {4, 4, 4});
  a.steps[0].max_violation = 8;
  a.steps[2].max_violation = 4;
  const Comparison c = compare({a, b}, {.ema = 0.5});
  EXPECT_EQ(c.runs[0].violation_steps, (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(c.runs[0].violation, (std::vector<double>{8, 4 / 0.75}));
  EXPECT_TRUE(c.runs[1].violation.empty());
  const std::array<std::string, 2> names = {"a", "b"};
  EXPECT_NE(draw_comparison(c, names).find("Load balance"), std::string::npos);
  EXPECT_EQ(draw_comparison(compare({b, b}, {}), names).find("Load balance"), std::string::npos);
}

TEST(CompareRuns, DividesActivationsByTheTokensOfAMicroBatch) {
  RecordedRun a = run_of("a", {4}), b = run_of("b", {4});
  a.config = {{"train.micro_batch", "2"}, {"data.seq_len", "8"}};
  a.steps[0].activation_bytes = b.steps[0].activation_bytes = 320;
  b.steps[0].activation_bytes_per_token = 7;
  const Comparison c = compare({a, b}, {});
  EXPECT_EQ(c.runs[0].activation_bytes_per_token, 20);
  EXPECT_EQ(c.runs[1].activation_bytes_per_token, 7);
}

TEST(CompareRuns, TakesTheWarmupFromTheBaseline) {
  RecordedRun a = run_of("a", {4, 4, 4});
  a.config.emplace()["optimizer.schedule.warmup_steps"] = "2";
  const Comparison c = compare({a, run_of("b", {5, 6, 4})}, {.ema = 0});
  EXPECT_EQ(c.warmup_steps, 2);
  EXPECT_EQ(c.runs[1].errors->largest, 0);
}

TEST(CompareRuns, SaysWhichRunsDiverged) {
  const double nan = std::nan("");
  const Comparison c =
      compare({run_of("a", {4, 4, 4}), run_of("nan", {4, 3, nan}), run_of("rises", {4, 3, 4}),
               run_of("never", {nan, nan}), run_of("early", {4, nan})},
              {.ema = 0, .warmup_steps = 1});
  EXPECT_FALSE(c.runs[0].diverged);
  for (size_t i = 1; i < 5; ++i) EXPECT_TRUE(c.runs[i].diverged) << i;
  EXPECT_EQ(c.runs[1].errors->last_step, 2) << "the last loss that is a number";
  EXPECT_TRUE(c.runs[3].loss.empty());
  EXPECT_FALSE(c.runs[4].errors) << "nothing after the warm-up";
}

TEST(CompareRuns, ComparesAtTheStepsThatBothHave) {
  RecordedRun a = run_of("a", {4, 4, 4, 4}), b = run_of("b", {5, 5, 5, 5});
  a.steps.erase(a.steps.begin() + 1);
  b.steps.erase(b.steps.begin() + 2);
  const Comparison c = compare({a, b}, {.ema = 0});
  EXPECT_EQ(c.runs[1].error_steps, (std::vector<int64_t>{1, 4}));
}

TEST(CompareRuns, RefusesWhatHasNothingInCommon) {
  EXPECT_THROW(compare({run_of("a", {4, 4}), run_of("b", {4, 4})}, {.warmup_steps = 2}), Error);
  RecordedRun b = run_of("b", {4, 4});
  b.steps[0].step = 3;
  b.steps[1].step = 4;
  EXPECT_THROW(compare({run_of("a", {4, 4}), b}, {}), Error);
  RecordedRun larger = run_of("larger batch", {4, 4});
  for (RecordedStep& s : larger.steps) s.tokens *= 2;
  EXPECT_THROW(compare({run_of("a", {4, 4}), larger}, {}), Error);
}

TEST(CompareRuns, ListsTheKeysThatDiffer) {
  RecordedRun a = run_of("a", {4}), b = run_of("b", {4});
  a.config = {{"train.precision", "'bf16'"}, {"train.seed", "1"}};
  b.config = {{"train.precision", "'fp8'"}, {"train.seed", "1"}, {"fp8.scale", "'fp32'"}};
  const Comparison c = compare({a, b}, {});
  ASSERT_EQ(c.differences.size(), 2u);
  EXPECT_EQ(c.differences[0].key, "fp8.scale");
  EXPECT_FALSE(c.differences[0].values[0]);
  EXPECT_EQ(c.differences[1].key, "train.precision");
  EXPECT_EQ(c.differences[1].values[1], "'fp8'");
}

TEST(DrawComparison, HasACurveForEachRunAndEscapesNames) {
  const Comparison c = compare({run_of("a", {4, 4, 4}), run_of("b", {4, 3.9, 3.8})}, {.ema = 0});
  const std::array<std::string, 2> names = {"a<b", "b"};
  const std::string svg = draw_comparison(c, names);
  EXPECT_NE(svg.find("a&lt;b (baseline)"), std::string::npos);
  size_t curves = 0;
  for (size_t at = 0; (at = svg.find("<polyline", at)) != std::string::npos; ++at) ++curves;
  EXPECT_EQ(curves, 3u) << "two losses and an error";
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg, draw_comparison(c, names));
}

// Constant losses, a run without a number, one step: no range is empty.
TEST(DrawComparison, DrawsWhatIsDegenerate) {
  const Comparison c =
      compare({run_of("a", {4}), run_of("b", {4}), run_of("c", {std::nan("")})}, {.ema = 0});
  const std::array<std::string, 3> names = {"a", "b", "c"};
  const std::string svg = draw_comparison(c, names);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

class ReadRun : public testing::Test {
 protected:
  void metrics(const std::string& text) { write_quickly(dir_ / "metrics.jsonl", text); }
  std::string error() {
    try {
      read_run(dir_);
    } catch (const Error& e) {
      return e.what();
    }
    return {};
  }
  const TemporaryDirectory directory_{"read_run"};
  const std::filesystem::path& dir_ = directory_.path();
};

TEST_F(ReadRun, ReadsWhatIsThere) {
  metrics(R"({"step": 1, "tokens": 64, "loss": 5.5, "valid_loss": null}
{"step": 2, "tokens": 128, "loss": null, "tokens_per_s": 7, "peak_rss_bytes": 1000, "fp8_stats": {"x": {"amax": 2, "underflow": 0.25, "saturation": 0}}}
)");
  write_quickly(dir_ / "config.toml",
                "model = \"nano\"\n[train]\nsteps = 9\n[optimizer]\nbetas = [0.9, "
                "0.95]\n[optimizer.schedule]\nwarmup_steps = 3\n");
  const RecordedRun run = read_run(dir_ / "");
  EXPECT_EQ(run.name, dir_.string());
  ASSERT_EQ(run.steps.size(), 2u);
  EXPECT_EQ(run.steps[0].loss, 5.5);
  EXPECT_FALSE(run.steps[0].valid_loss);
  EXPECT_FALSE(run.steps[0].tokens_per_s);
  EXPECT_FALSE(run.steps[1].loss);
  EXPECT_EQ(run.steps[1].peak_rss_bytes, 1000);
  EXPECT_FALSE(run.last_line_unfinished);
  ASSERT_EQ(run.fp8_stats.size(), 1u);
  EXPECT_EQ(run.fp8_stats[0].tensor, "x");
  EXPECT_EQ(run.fp8_stats[0].underflow, 0.25);
  EXPECT_EQ(run.config->at("optimizer.betas"), "[0.9, 0.95]");
  EXPECT_EQ(run.configured("optimizer.schedule.warmup_steps"), 3);
  EXPECT_FALSE(run.configured("model")) << "no number";
  EXPECT_FALSE(run.configured("train.seed"));
}

TEST_F(ReadRun, LeavesOutAnUnfinishedLastLineOnly) {
  const std::string whole = R"({"step": 1, "tokens": 64, "loss": 5})";
  metrics(whole + "\n{\"step\": 2, \"tok");
  EXPECT_EQ(read_run(dir_).steps.size(), 1u);
  EXPECT_TRUE(read_run(dir_).last_line_unfinished);
  EXPECT_FALSE(read_run(dir_).config);
  metrics(whole);
  EXPECT_EQ(read_run(dir_).steps.size(), 1u) << "whole, only the newline is missing";
  metrics("{\"step\": 1, \"tok\n" + whole + "\n");
  EXPECT_NE(error().find("line 1"), std::string::npos) << error();
}

TEST_F(ReadRun, NamesWhatItCannotRead) {
  EXPECT_NE(error().find("no metrics.jsonl"), std::string::npos) << error();
  for (const auto& [text, expected] :
       {std::pair{"", "no finished step"},
        {"[1]\n", "line 1 is no JSON object"},
        {"{\"step\": 1.5, \"tokens\": 1}\n", "'step' is 1.5"},
        {"{\"step\": 1}\n", "'tokens' is missing"},
        {"{\"step\": 1, \"tokens\": 1, \"loss\": \"x\"}\n", "'loss' is \"x\""},
        {"{\"step\": 1, \"tokens\": 1, \"fp8_stats\": {\"a\": {}}}\n", "'amax' is missing"},
        {"{\"step\": 2, \"tokens\": 1}\n{\"step\": 2, \"tokens\": 2}\n",
         "step 2 follows step 2"}}) {
    metrics(text);
    EXPECT_NE(error().find(expected), std::string::npos) << error();
  }
  metrics("{\"step\": 1, \"tokens\": 1, \"loss\": 5}\n");
  write_quickly(dir_ / "config.toml", "model = \n");
  EXPECT_NE(error().find("config.toml, line 1"), std::string::npos) << error();
}

}  // namespace
}  // namespace fathom::train
