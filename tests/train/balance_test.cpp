#include "train/balance.h"

#include <gtest/gtest.h>

#include "infer/infer_test.h"

namespace fathom::train {
namespace {

TEST(MaxViolation, IsTheLargestExcessOverTheMean) {
  EXPECT_EQ(max_violation({}), 0);
  EXPECT_EQ(max_violation({{5, 5, 5, 5}}), 0);
  EXPECT_DOUBLE_EQ(max_violation({{8, 0, 0, 0}}), 3);                  // (8 - 2) / 2
  EXPECT_DOUBLE_EQ(max_violation({{8, 0, 0, 0}, {2, 2, 2, 2}}), 1.5);  // mean over layers
  EXPECT_DOUBLE_EQ(max_violation({{3, 1, 2, 2}}), 0.5);
  EXPECT_EQ(max_violation({{0, 0}}), 0);
}

class CorrectionBias : public testing::Test {
 protected:
  // Layers 1 and 2 of small_config() and the MTP module are mixtures of eight experts.
  std::vector<float> bias(size_t layer) {
    const MoeWeights& moe =
        layer < 3 ? *storage_.weights.layers[layer].moe : *storage_.weights.mtp[0].block.moe;
    return values(moe.e_score_correction_bias.weight);
  }
  ModelStorage storage_{small_config(), DType::kF32, false};
};

TEST_F(CorrectionBias, MovesTowardsTheMean) {
  const std::vector<int64_t> load = {9, 1, 4, 4, 4, 4, 3, 3};  // mean 4
  const ExpertLoads loads = {load, {4, 4, 4, 4, 4, 4, 4, 4}, load};
  update_correction_bias(storage_.weights, loads, 0.5f);
  EXPECT_EQ(bias(1), (std::vector<float>{-0.5f, 0.5f, 0, 0, 0, 0, 0.5f, 0.5f}));
  EXPECT_EQ(bias(2), std::vector<float>(8, 0.0f));
  EXPECT_EQ(bias(3), bias(1));
  update_correction_bias(storage_.weights, loads, 0.25f);
  EXPECT_EQ(bias(1), (std::vector<float>{-0.75f, 0.75f, 0, 0, 0, 0, 0.75f, 0.75f}));
}

TEST_F(CorrectionBias, LayersWithoutLoadsStay) {
  const ExpertLoads loads(2, {8, 0, 0, 0, 0, 0, 0, 0});  // MTP is switched off
  update_correction_bias(storage_.weights, loads, 0.5f);
  EXPECT_EQ(bias(2)[0], -0.5f);
  EXPECT_EQ(bias(3), std::vector<float>(8, 0.0f));
}

TEST_F(CorrectionBias, SpeedZeroStopsIt) {
  update_correction_bias(storage_.weights, ExpertLoads(3, {8, 0, 0, 0, 0, 0, 0, 0}), 0);
  EXPECT_EQ(bias(1), std::vector<float>(8, 0.0f));
}

TEST(CorrectionBiasOfV2, DoesNotExist) {
  ModelConfig lite = all_configs()[3].config;
  ModelStorage storage(lite, DType::kF32, false);
  update_correction_bias(storage.weights, ExpertLoads(2, {8, 0, 0, 0, 0, 0, 0, 0}), 0.5f);
}

}  // namespace
}  // namespace fathom::train
