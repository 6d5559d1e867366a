#include "model/parameter_count.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

/// The table of spec A.8; V3 and V2-Lite totals equal the published checkpoints'.
struct Row {
  const char* preset;
  int64_t attention, expert, dense_ffn, moe_layer, embedding, total, active, active_no_embed;
};

constexpr Row kRows[] = {
    {"deepseek-v3", 187'107'328, 44'040'192, 396'361'728, 11'507'286'272, 926'679'040,
     671'026'419'200, 37'552'297'472, 36'625'618'432},
    {"deepseek-v2", 149'227'520, 23'592'960, 188'743'680, 3'972'116'480, 524'288'000,
     235'741'434'880, 21'375'800'320, 20'851'512'320},
    {"deepseek-v2-lite", 13'763'072, 8'650'752, 67'239'936, 584'847'872, 209'715'200,
     15'706'484'224, 2'661'150'208, 2'451'435'008},
    {"moonlight-16b-a3b", 13'763'072, 8'650'752, 69'206'016, 584'847'936, 335'544'320,
     15'960'110'208, 2'914'776'192, 2'579'231'872},
    {"kimi-k2", 101'124'096, 44'040'192, 396'361'728, 17'059'365'248, 1'174'405'120,
     1'026'408'232'448, 32'861'500'928, 31'687'095'808},
};

TEST(ParameterCountTest, PublishedModels) {
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.preset);
    const ModelConfig config = ModelConfig::preset(row.preset);
    const ParameterCount n = count_parameters(config);
    EXPECT_EQ(n.attention, row.attention);
    EXPECT_EQ(n.expert, row.expert);
    EXPECT_EQ(n.dense_layer, row.attention + 2 * config.hidden_size + row.dense_ffn);
    EXPECT_EQ(n.moe_layer, row.moe_layer);
    EXPECT_EQ(n.embedding, row.embedding);
    EXPECT_EQ(n.total, row.total);
    EXPECT_EQ(n.active, row.active);
    EXPECT_EQ(n.active_no_embed, row.active_no_embed);
  }
}

TEST(ParameterCountTest, MtpOfV3) {
  ModelConfig config = ModelConfig::preset("deepseek-v3");
  EXPECT_EQ(count_parameters(config).mtp, 11'610'068'224);
  config.num_nextn_predict_layers = 0;
  EXPECT_EQ(count_parameters(config).mtp, 0);
}

TEST(ParameterCountTest, TiedHeadIsCountedOnce) {
  ModelConfig config = ModelConfig::preset("nano");
  const ParameterCount untied = count_parameters(config);
  config.tie_word_embeddings = true;
  const ParameterCount tied = count_parameters(config);
  EXPECT_EQ(tied.total, untied.total - untied.embedding);
  EXPECT_EQ(tied.active_no_embed, untied.active_no_embed);
}

TEST(ParameterCountTest, DenseModelHasNoExperts) {
  ModelConfig config = ModelConfig::preset("nano");
  config.n_routed_experts = 0;
  const ParameterCount n = count_parameters(config);
  EXPECT_EQ(n.expert, 0);
  EXPECT_EQ(n.moe_layer, 0);
  EXPECT_EQ(n.total, n.active);
}

TEST(ParameterCountTest, LatentCacheOfV3IsThePapersTable) {
  EXPECT_EQ(kv_bytes_per_token(ModelConfig::preset("deepseek-v3")), 70'272);
}

}  // namespace
}  // namespace fathom
