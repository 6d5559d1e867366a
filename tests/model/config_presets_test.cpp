#include "model/presets.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/file.h"
#include "model/config.h"
#include "model/parameter_count.h"

namespace fathom {
namespace {

TEST(PresetsTest, AllAreValidAndSurviveBeingWritten) {
  for (const std::string& name : ModelConfig::preset_names()) {
    SCOPED_TRACE(name);
    const ModelConfig config = ModelConfig::preset(name);
    EXPECT_NO_THROW(config.validate(name));
    EXPECT_EQ(ModelConfig::from_json(config.to_json("bfloat16"), name), config);
  }
}

/// For make_config_fixtures.py --check, which reads them with transformers.
TEST(PresetsTest, WritesThemOnRequest) {
  const char* directory = std::getenv("FATHOM_WRITE_FIXTURES");
  if (!directory) GTEST_SKIP() << "set FATHOM_WRITE_FIXTURES to a directory";
  for (const std::string& name : ModelConfig::preset_names()) {
    write_text_file(std::filesystem::path(directory) / (name + ".json"),
                    ModelConfig::preset(name).to_json("bfloat16"));
  }
}

TEST(PresetsTest, UnknownNameListsTheKnown) {
  try {
    ModelConfig::preset("huge");
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "no model preset is called 'huge'");
    EXPECT_NE(e.hint().find("nano, micro"), std::string::npos);
  }
}

TEST(PresetsTest, SizesAreWhatTheirNamesPromise) {
  const auto total = [](const char* name) {
    return count_parameters(ModelConfig::preset(name)).total;
  };
  EXPECT_LT(total("nano"), 3'000'000);
  EXPECT_NEAR(static_cast<double>(total("micro")), 15e6, 1e6);
  EXPECT_NEAR(static_cast<double>(total("mini")), 30e6, 3e6);
  EXPECT_NEAR(static_cast<double>(total("small")), 100e6, 10e6);
  EXPECT_EQ(describe_preset("deepseek-v3"),
            "DeepSeek-V3, R1 and V3.1: 671.03B parameters, 37.55B active, and 11.61B in MTP");
}

}  // namespace
}  // namespace fathom
