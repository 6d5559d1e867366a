#include "cluster/model_shape.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "model/parameter_count.h"

namespace fathom::cluster {
namespace {

TEST(ModelShape, AgreesWithTheModelsOwnCount) {
  for (const std::string& name : ModelConfig::preset_names()) {
    const ParameterCount own = count_parameters(ModelConfig::preset(name));
    const ShapeCount n = count(model_shape(name));
    EXPECT_EQ(n.total, static_cast<double>(own.total)) << name;
    EXPECT_EQ(n.active, static_cast<double>(own.active_no_embed)) << name;
    EXPECT_EQ(n.mtp_unique, static_cast<double>(own.mtp)) << name;
  }
}

TEST(ModelShape, NamesAttention) {
  EXPECT_STREQ(model_shape("deepseek-v3").attention_name(), "MLA");
  EXPECT_STREQ(model_shape("qwen-72b").attention_name(), "MHA");
  EXPECT_STREQ(model_shape("llama-3.1-405b").attention_name(), "GQA");
}

TEST(ModelShape, ReadsConfigOfAnotherFamily) {
  const std::string path = testing::TempDir() + "llama_config.json";
  std::ofstream(path) << R"({"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
    "vocab_size": 128256})";
  EXPECT_EQ(count(model_shape(path)).total, count(model_shape("llama-3.1-8b")).total);
  std::filesystem::remove(path);
}

TEST(ModelShape, RefusesWhatItCannotPlan) {
  const std::string path = testing::TempDir() + "other_config.json";
  std::ofstream(path) << R"({"model_type": "lama"})";
  try {
    model_shape(path);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(e.hint().find("'llama'"), std::string::npos) << e.hint();
  }
  std::ofstream(path) << R"({"model_type": "llama", "hidden_size": -1})";
  EXPECT_THROW(model_shape(path), Error);
  std::filesystem::remove(path);
}

TEST(ModelShape, SuggestsTheNearestName) {
  try {
    model_shape("deepseek-v4");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(e.hint().find("'deepseek-v"), std::string::npos) << e.hint();
  }
}

TEST(ModelShape, WhatIf) {
  ModelShape shape = model_shape("deepseek-v3");
  set_model(shape, "model.hidden=7000");
  EXPECT_EQ(shape.hidden, 7000);
  EXPECT_THROW(set_model(shape, "model.hiden=7000"), UsageError);
  EXPECT_THROW(set_model(shape, "model.hidden=-1"), UsageError);
  EXPECT_THROW(set_model(shape, "model.hidden"), UsageError);
}

}  // namespace
}  // namespace fathom::cluster
