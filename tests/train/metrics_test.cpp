#include "train/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "temporary_directory.h"

namespace fathom::train {
namespace {

StepMetrics step(int64_t n) {
  return {.step = n, .tokens = n * 1024, .loss = 10.0 / static_cast<double>(n), .lr = 1e-4};
}

std::vector<int64_t> steps_in(const std::filesystem::path& path) {
  std::istringstream lines(read_text_file(path));
  std::vector<int64_t> steps;
  for (std::string line; std::getline(lines, line);)
    steps.push_back(nlohmann::json::parse(line)["step"]);
  return steps;
}

TEST(StepMetrics, ALineHasTheFieldsOfTheContract) {
  StepMetrics m = step(3);
  m.mtp_loss = 4.5;
  m.max_violation = 0.25;
  const std::string line = to_json_line(m);
  EXPECT_EQ(line.back(), '\n');
  const auto json = nlohmann::json::parse(line);
  for (const char* field : {"step", "tokens", "loss", "mtp_loss", "balance_loss", "lr", "grad_norm",
                            "tokens_per_s", "tflops", "mfu", "max_violation"})
    EXPECT_TRUE(json.contains(field)) << field;
  EXPECT_EQ(json["tokens"], 3072);
  EXPECT_EQ(json["mtp_loss"], 4.5);
  EXPECT_TRUE(json["balance_loss"].is_null()) << "no MoE layer";
  EXPECT_FALSE(json.contains("valid_loss")) << "only at evaluations";
  m.expert_loads = {{3, 1}, {2, 2}};
  EXPECT_FALSE(nlohmann::json::parse(to_json_line(m)).contains("expert_loads"));
  m.valid_loss = 3.5;
  EXPECT_EQ(nlohmann::json::parse(to_json_line(m))["valid_loss"], 3.5);
  EXPECT_EQ(nlohmann::json::parse(to_json_line(m))["expert_loads"], m.expert_loads);
  m.loss = std::nan("");
  EXPECT_TRUE(nlohmann::json::parse(to_json_line(m))["loss"].is_null());
}

TEST(StepMetrics, TheProgressNoteIsShort) {
  StepMetrics m = {
      .step = 1, .loss = 3.2144, .lr = 2.2e-4, .grad_norm = 0.814, .tokens_per_s = 12345};
  EXPECT_EQ(progress_note(m), "loss 3.214  lr 2.2e-04  |g| 0.81  12.3 Ktok/s");
  m.valid_loss = 3.3;
  EXPECT_EQ(progress_note(m), "loss 3.214  valid 3.300  lr 2.2e-04  |g| 0.81  12.3 Ktok/s");
}

TEST(MetricsWriter, ResumingDropsLaterStepsAndATornLine) {
  TemporaryDirectory dir("metrics");
  const auto path = dir / "metrics.jsonl";
  {
    MetricsWriter writer(dir.path(), 0);
    for (int64_t n = 1; n <= 5; ++n) writer.write(step(n));
    EXPECT_EQ(steps_in(path), (std::vector<int64_t>{1, 2, 3, 4, 5})) << "flushed line by line";
  }
  {
    MetricsWriter writer(dir.path(), 3);
    writer.write(step(4));
  }
  EXPECT_EQ(steps_in(path), (std::vector<int64_t>{1, 2, 3, 4}));
  write_text_file(path, read_text_file(path) + "{\"step\":5,\"to");
  { MetricsWriter writer(dir.path(), 10); }
  EXPECT_EQ(steps_in(path), (std::vector<int64_t>{1, 2, 3, 4}));
  { MetricsWriter writer(dir.path(), 0); }
  EXPECT_EQ(steps_in(path), std::vector<int64_t>{});
}

TEST(MetricsWriter, AnUnwritablePlaceIsNamed) {
  TemporaryDirectory dir("metrics");
  write_text_file(dir / "file", "");
  EXPECT_THROW(MetricsWriter(dir / "file", 0), Error);
}

TEST(AppendFile, AFullDiskIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP();
  AppendFile file("/dev/full");
  try {
    file.append("x");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("/dev/full"), std::string::npos);
  }
}

}  // namespace
}  // namespace fathom::train
