#include "train/branch_formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "infer/infer_test.h"
#include "kernels/elementwise.h"
#include "train/objective.h"

namespace fathom::train {
namespace {

class BranchFormats : public testing::Test {
 protected:
  BranchFormats() {
    for (size_t i = 0; i < ids_.size(); ++i) ids_[i] = static_cast<int32_t>(i * 7 % 61);
  }
  BranchStudy study(GemmPrecision precision) { return {ctx_, *model_, ids_, 24, precision}; }

  TestModel model_{small_config(), DType::kF32, 5};
  std::vector<int32_t> ids_ = std::vector<int32_t>(61);
  ThreadPool pool_{2};
  Arena arena_;
  Context ctx_{Device{}, pool_, arena_};
};

// The walk differs from Transformer::forward only in adding (x + y) − x instead of y: rounding of
// FP32, which a loss of about 4 in some layers shows to 1e-5.
TEST_F(BranchFormats, AWalkThatChangesNothingGivesTheLossOfTheModel) {
  double expected = 0;
  for (int64_t begin = 0; begin < 60; begin += 24) {
    const TokenWindows window{ids_.data() + begin, 1, std::min<int64_t>(24, 60 - begin), 1};
    expected += objective_forward(ctx_, *model_, window, GemmPrecision::kF32).main / 60;
  }
  const double loss =
      mean_loss(study(GemmPrecision::kF32).losses([](int64_t, Branch, TensorView) {}));
  EXPECT_NEAR(loss, expected, 1e-5 * expected);
}

TEST_F(BranchFormats, SeesEveryBranchOfEveryLayer) {
  std::map<std::pair<int64_t, Branch>, int64_t> rows;
  study(GemmPrecision::kBF16).losses([&](int64_t layer, Branch branch, TensorView x) {
    EXPECT_EQ(x.cols(), 64);
    EXPECT_EQ(x.dtype, branch == Branch::kExperts ? DType::kBF16 : DType::kF32);
    rows[{layer, branch}] += x.rows();
  });
  EXPECT_EQ(rows.size(), 8u) << "layer 0 is dense";
  for (int64_t layer = 0; layer < 3; ++layer) {
    EXPECT_EQ((rows[{layer, Branch::kAttention}]), 60);
    EXPECT_EQ((rows[{layer, Branch::kFfn}]), 60);
    if (layer > 0) {
      EXPECT_EQ((rows[{layer, Branch::kExperts}]), 120) << "top-2";
    }
  }
}

TEST_F(BranchFormats, WhatAVisitorChangesCounts) {
  const BranchStudy s = study(GemmPrecision::kF32);
  const std::vector<float> losses = s.losses([](int64_t, Branch, TensorView) {});
  for (const Branch branch : {Branch::kAttention, Branch::kExperts, Branch::kFfn})
    EXPECT_GT(loss_change(losses, s.losses([&](int64_t, Branch b, TensorView x) {
                if (b == branch) kernels::fill(ctx_, x, 0);
              })).rms,
              1e-2)
        << name_of(branch);
}

TEST(LossChange, IsThatOfTheTokens) {
  const float before[] = {4, 2, 3, 3}, after[] = {5, 2, 4, 3};
  const LossChange c = loss_change(before, after);
  EXPECT_EQ(c.loss, 3.5);
  EXPECT_EQ(c.change, 0.5);
  EXPECT_EQ(c.rms, std::sqrt(0.5));
  EXPECT_EQ(c.standard_error, 0.25) << "variance 1/4 over four tokens";
}

TEST_F(BranchFormats, MeasuresTheOrderOfTheFormats) {
  const BranchMeasurement m = measure_branches(study(GemmPrecision::kF32));
  ASSERT_EQ(m.branches.size(), 8u);
  for (const BranchNoise& b : m.branches) {
    const auto db = [&](NumberFormat f) {
      return b.formats[static_cast<size_t>(f)].signal_to_noise_db();
    };
    EXPECT_GT(b.rms, 0);
    EXPECT_GT(db(NumberFormat::kE4M3), db(NumberFormat::kE5M2) + 3);
    EXPECT_GT(db(NumberFormat::kLogFmt10), db(NumberFormat::kLogFmt8) + 6);
    EXPECT_GT(db(NumberFormat::kBF16), db(NumberFormat::kLogFmt10));
  }
}

TEST_F(BranchFormats, CompressesTheBranchesAskedFor) {
  const BranchStudy s = study(GemmPrecision::kBF16);
  const std::vector<float> losses = s.losses([](int64_t, Branch, TensorView) {});
  EXPECT_EQ(compressed_losses(s, NumberFormat::kBF16, Compressed::kExperts), losses)
      << "they are BF16 already";
  const auto rms = [&](NumberFormat format, Compressed which) {
    return loss_change(losses, compressed_losses(s, format, which)).rms;
  };
  EXPECT_GT(rms(NumberFormat::kE5M2, Compressed::kExperts), 0);
  EXPECT_GT(rms(NumberFormat::kE5M2, Compressed::kAllBranches),
            2 * rms(NumberFormat::kLogFmt10, Compressed::kAllBranches));
}

}  // namespace
}  // namespace fathom::train
