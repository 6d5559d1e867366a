#include "train/config.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "temporary_directory.h"

namespace fathom::train {
namespace {
namespace fs = std::filesystem;
using Overrides = std::vector<std::string>;

constexpr const char* kMinimal = R"(
model = "nano"
[data]
train = "corpus"
seq_len = 128
[train]
steps = 100
batch_tokens = 1024
)";

TrainConfig parse(const std::string& text, const Overrides& overrides = {}) {
  return parse_train_config(text, "/runs/run.toml", overrides);
}

/// The message and hint of the Error that parsing throws.
std::string error_of(const std::string& text, const Overrides& overrides = {}) {
  try {
    parse(text, overrides);
  } catch (const Error& e) {
    return std::string(e.what()) + " | " + e.hint();
  }
  return "no error";
}

void expect_error(const std::string& error, std::initializer_list<std::string> parts) {
  for (const std::string& part : parts)
    EXPECT_NE(error.find(part), std::string::npos) << part << " in: " << error;
}

TEST(TrainConfig, DefaultsAreThePapers) {
  const TrainConfig c = parse(kMinimal);
  EXPECT_EQ(c.model, "nano");
  EXPECT_EQ(c.data.fim_rate, 0.1);
  EXPECT_EQ(c.train.precision, Precision::kBf16);
  EXPECT_EQ(c.train.batch_tokens_start, 1024);
  EXPECT_EQ(c.optimizer.lr, 2.2e-4);
  EXPECT_EQ(c.optimizer.betas, (std::array<double, 2>{0.9, 0.95}));
  EXPECT_EQ(c.optimizer.weight_decay, 0.1);
  EXPECT_EQ(c.optimizer.moments, Precision::kBf16);
  EXPECT_EQ(c.optimizer.schedule.type, LrShape::kDeepseekV3);
  EXPECT_EQ(c.optimizer.schedule.warmup_steps, 10);
  EXPECT_EQ(c.moe.bias_update_speed, 0.001);
  EXPECT_EQ(c.moe.balance_alpha, 1e-4);
  EXPECT_EQ(c.mtp.lambda, 0.3);
  EXPECT_EQ(c.mtp.lambda_final, 0.1);
}

TEST(TrainConfig, EveryValueSurvivesToTomlAndBack) {
  const TrainConfig c = parse(
      kMinimal,
      {"data.valid=[\"a b\", 'c\"d.txt']", "optimizer.lr=0.0031", "optimizer.betas=[0.8, 1e-3]",
       "train.precision=fp32", "optimizer.schedule=cosine", "train.log_batches=true",
       "train.batch_tokens_start=512", "train.batch_ramp_tokens=2048", "mtp.lambda=0.25"});
  const std::string text = c.to_toml();
  const TrainConfig back = parse_train_config(text, "/elsewhere/run.toml");
  EXPECT_EQ(back.to_toml(), text);
  EXPECT_EQ(back.data.valid, c.data.valid);
  EXPECT_EQ(back.optimizer.lr, 0.0031);
  EXPECT_EQ(back.train.precision, Precision::kFp32);
  EXPECT_EQ(back.optimizer.schedule.type, LrShape::kCosine);
  EXPECT_TRUE(back.train.log_batches);
}

TEST(TrainConfig, PathsAreRelativeToTheFileAndThoseOfAnOverrideToTheWorkingDirectory) {
  const TrainConfig c = parse(kMinimal, {"data.valid=held/out.txt", "data.cache_dir=/tmp/cache"});
  EXPECT_EQ(c.data.train, std::vector<fs::path>{"/runs/corpus"});
  EXPECT_EQ(c.data.valid, std::vector<fs::path>{fs::current_path() / "held/out.txt"});
  EXPECT_EQ(c.data.cache_dir, "/tmp/cache");
  EXPECT_TRUE(c.data.tokenizer.empty());
}

TEST(TrainConfig, ModelIsAPathOnlyIfItExists) {
  TemporaryDirectory dir("config");
  write_text_file(dir / "config.json", "{}");
  const auto model = [&](const std::string& value) {
    return parse_train_config(kMinimal, dir / "run.toml", Overrides{"model=" + value}).model;
  };
  EXPECT_EQ(model("small"), "small");
  EXPECT_EQ(model((dir / "config.json").string()), (dir / "config.json").string());
  write_text_file(dir / "run.toml", std::string(kMinimal).replace(10, 4, "config.json"));
  EXPECT_EQ(load_train_config(dir / "run.toml").model, (dir / "config.json").string());
}

TEST(TrainConfig, OverridesTakeTomlValuesAndBareStrings) {
  const TrainConfig c = parse(kMinimal, {"train.steps=7", "train.steps = 9", "model=my model",
                                         "data.shuffle=false", "train.batch_tokens=2048.0"});
  EXPECT_EQ(c.train.steps, 9);
  EXPECT_EQ(c.train.batch_tokens, 2048);
  EXPECT_EQ(c.model, "my model");
  EXPECT_FALSE(c.data.shuffle);
}

TEST(TrainConfig, SettingTheMtpWeightAloneKeepsItConstant) {
  EXPECT_EQ(parse(kMinimal, {"mtp.lambda=0.2"}).mtp.lambda_final, 0.2);
  EXPECT_EQ(parse(kMinimal, {"mtp.lambda=0.2", "mtp.lambda_final=0.05"}).mtp.lambda_final, 0.05);
}

TEST(TrainConfig, UnknownKeysAreErrorsWithASuggestion) {
  expect_error(error_of(kMinimal, {"train.stepz=1"}),
               {"--set train.stepz=1", "unknown key train.stepz", "did you mean train.steps?"});
  expect_error(error_of(std::string(kMinimal) + "lr = 1e-3\n"),
               {"/runs/run.toml", "unknown key train.lr", "did you mean optimizer.lr?"});
  expect_error(error_of(kMinimal, {"optimizer.schedule.warmup=3"}),
               {"did you mean optimizer.schedule.warmup_steps?"});
  expect_error(error_of(std::string(kMinimal) + "[xyzzy]\nplugh = 1\n"), {"unknown key xyzzy"});
}

TEST(TrainConfig, WrongTypesAndRangesNameFileKeyAndValue) {
  const auto with = [](const std::string& lines) { return error_of(kMinimal + lines); };
  expect_error(with("seed = -1"), {"/runs/run.toml", "train.seed = -1", "at least 0"});
  expect_error(with("seed = \"x\""), {"train.seed = ", "a string", "an integer"});
  expect_error(with("seed = 1.5"), {"train.seed = 1.5", "an integer"});
  expect_error(with("precision = \"fp16\""), {"train.precision", "one of fp32, bf16"});
  expect_error(with("log_batches = 1"), {"train.log_batches = 1", "true or false"});
  expect_error(with("[optimizer]\nlr = 0"), {"optimizer.lr = 0", "above 0"});
  expect_error(with("[optimizer]\nlr = nan"), {"optimizer.lr = nan", "above 0"});
  expect_error(with("[optimizer]\nbetas = [0.9, 1.0]"), {"optimizer.betas", "in [0, 1)"});
  expect_error(with("[optimizer]\nbetas = [0.9]"), {"an array of two numbers"});
  expect_error(error_of("model = 3"), {"model = 3", "a string"});
  expect_error(error_of("model = ''"), {"model = ", "a name or a path"});
  expect_error(error_of(kMinimal, {"train.steps=1e18"}), {"train.steps = 1e+18", "in [1, "});
  expect_error(error_of("data = 3"), {"data = 3", "a table"});
  expect_error(error_of(kMinimal, {"data.train=[1]"}), {"a path or a list of paths"});
  expect_error(error_of(kMinimal, {"data.train=[]"}), {"data.train is an empty list"});
  expect_error(error_of("model = \"a\"\n[data]\ntrain = \"x\""), {"train.steps is missing"});
  expect_error(error_of("model = \"a"), {"/runs/run.toml:1:"});
}

TEST(TrainConfig, Fp8DefaultsAreThePapers) {
  const TrainConfig c = parse(kMinimal, {"train.precision=fp8"});
  EXPECT_TRUE(c.train.recompute);
  EXPECT_FALSE(parse(kMinimal).train.recompute);
  const Fp8Recipe& r = c.fp8.recipe;
  EXPECT_EQ(r.tiles(), Fp8Recipe{}.tiles());
  EXPECT_EQ(r.input_tile, kernels::kTile1x128);
  EXPECT_EQ(r.gradient_for_weight_tile, kernels::kTile128x1);
  EXPECT_EQ(r.weight_tile, kernels::kBlock128x128);
  EXPECT_EQ(r.gradient_format, kernels::Float8::kE4M3);
  EXPECT_EQ(r.bf16_modules, std::vector<std::string>{"eh_proj"});
  EXPECT_FALSE(r.accumulator);
}

TEST(TrainConfig, Fp8ChoicesSurviveToTomlAndBack) {
  const TrainConfig c =
      parse(kMinimal, {"train.precision=fp8", "fp8.scale=power-of-two", "fp8.input_tile=tensor",
                       "fp8.gradient_tile=128x128", "fp8.gradient_format=e5m2",
                       "fp8.bf16_modules=[\"o_proj\", \"layers.0\"]"});
  const std::string text = c.to_toml();
  const TrainConfig back = parse_train_config(text, "/elsewhere/run.toml");
  EXPECT_EQ(back.to_toml(), text);
  EXPECT_EQ(back.fp8.recipe.scale, kernels::ScaleFormat::kPowerOfTwo);
  EXPECT_EQ(back.fp8.recipe.input_tile, kernels::kPerTensor);
  EXPECT_EQ(back.fp8.recipe.gradient_tile, kernels::kBlock128x128);
  EXPECT_EQ(back.fp8.recipe.gradient_format, kernels::Float8::kE5M2);
  EXPECT_EQ(back.fp8.recipe.bf16_modules, (std::vector<std::string>{"o_proj", "layers.0"}));
  const TrainConfig hopper =
      parse(kMinimal, {"fp8.emulate_hopper=true", "fp8.promotion_interval=0"});
  EXPECT_EQ(hopper.fp8.recipe.accumulator.value().promotion, 0);
}

TEST(TrainConfig, ImpossibleFp8ChoicesAreErrors) {
  const auto fails = [](Overrides overrides, const char* part) {
    overrides.push_back("train.precision=fp8");
    expect_error(error_of(kMinimal, overrides), {part});
  };
  fails({"train.recompute=false"}, "train.recompute = false");
  fails({"fp8.emulate_hopper=true", "fp8.promotion_interval=48"}, "fp8.promotion_interval = 48");
  fails({"fp8.emulate_hopper=true", "fp8.gradient_format=e5m2"}, "the paper's tiles");
  fails({"fp8.emulate_hopper=true", "fp8.input_tile=tensor"}, "the paper's tiles");
  fails({"fp8.input_tile=64x64"}, "one of 1x128, 128x128, tensor");
  fails({"fp8.bf16_modules=[1]"}, "a name or a list of names");
}

TEST(TrainConfig, MalformedOverridesAreUsageErrors) {
  for (const char* text : {"train.steps", "=3", "a b=3", "[x]=3"})
    EXPECT_THROW(parse(kMinimal, {text}), UsageError) << text;
  EXPECT_THROW(parse(kMinimal, {"train..steps=x y"}), Error);
  EXPECT_THROW(parse(kMinimal, {"model.name=x y"}), Error);
}

TEST(TrainConfig, ContradictionsAreErrors) {
  expect_error(error_of(kMinimal, {"train.batch_tokens=1000"}),
               {"train.batch_tokens = 1000 is not a multiple", "train.batch_tokens = 1024"});
  expect_error(error_of(kMinimal, {"train.batch_tokens_start=128"}), {"a batch ramp needs both"});
  expect_error(error_of(kMinimal, {"optimizer.schedule.constant_until=0.99"}),
               {"constant_until = 0.99 lies after", "cosine_until"});
  expect_error(error_of(kMinimal, {"optimizer.schedule.warmup_steps=101"}),
               {"warmup_steps = 101 exceeds train.steps = 100"});
}

TEST(TrainConfig, AMissingFileIsNamed) {
  try {
    load_train_config("/no/such/run.toml");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("/no/such/run.toml"), std::string::npos);
  }
}

}  // namespace
}  // namespace fathom::train
