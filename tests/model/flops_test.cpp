#include "model/flops.h"

#include <gtest/gtest.h>

#include "model/parameter_count.h"

namespace fathom {
namespace {

// ISCA Table 2 and spec H: V3 at 4096 tokens 250 GFLOP a token, 249.7 causal and 280.2 not
// causal by the run's own speed.
TEST(Flops, TrainingIsThePapersCount) {
  const ModelConfig v3 = ModelConfig::preset("deepseek-v3");
  EXPECT_NEAR(training_flops_per_token(v3, 4096, true, false) / 1e9, 250.4, 0.5);
  EXPECT_NEAR(training_flops_per_token(v3, 4096, false, false) / 1e9, 281.1, 0.8);
}

TEST(Flops, MtpAddsAModuleAndASecondPassThroughTheHead) {
  const ModelConfig v3 = ModelConfig::preset("deepseek-v3");
  const double more = training_flops_per_token(v3, 4096, true, true) -
                      training_flops_per_token(v3, 4096, true, false);
  // An expert layer (attention 187.1M, 9 experts of 44.04M, gate), eh_proj and the head, and
  // attention over half of 4096 tokens.
  const double attention =
      1536.0 * 7168 + 24576.0 * 1536 + 576.0 * 7168 + 32768.0 * 512 + 7168.0 * 16384;
  const double layer = attention + 9 * 3 * 2048.0 * 7168 + 256 * 7168.0;
  const double expected = 6 * (layer + 2 * 7168.0 * 7168 + 129280.0 * 7168 + 2048 * 128.0 * 320);
  EXPECT_NEAR(more / expected, 1, 1e-4);  // norms are not counted here
}

TEST(Flops, DecodeReadsActiveWeightsAndTheCache) {
  const ModelConfig v3 = ModelConfig::preset("deepseek-v3");
  const double none = decode_bytes_per_token(v3, 1, 2, 0);
  EXPECT_NEAR(none, static_cast<double>(count_parameters(v3).active_no_embed), 1);
  EXPECT_NEAR(decode_bytes_per_token(v3, 1, 2, 1000) - none, 70272.0 * 1000, 1);
  EXPECT_LT(inference_flops_per_token(v3, 0), inference_flops_per_token(v3, 1000));
}

}  // namespace
}  // namespace fathom
