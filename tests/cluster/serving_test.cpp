// Speeds of serving against those published (spec G.2, H).
#include "cluster/serving.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cluster/rates.h"

namespace fathom::cluster {
namespace {

class Serving : public testing::Test {
 protected:
  Catalogue catalogue = Catalogue::built_in();
  ModelShape v3 = model_shape("deepseek-v3");
  const Entry& h800 = catalogue.gpu("h800");
  Worksheet sheet;
};

// ISCA 2.3.2 rounds the hidden size to 7000.
TEST_F(Serving, LimitsOfTheNetwork) {
  set_model(v3, "model.hidden=7000");
  const NetworkLimit nic = plan_network_limit(v3, h800, {}, sheet);
  EXPECT_NEAR(nic.communication, 120.96e-6, 1e-9);
  EXPECT_NEAR(nic.tpot, 14.76e-3, 0.005e-3);
  NetworkLimitOptions nvlink;
  nvlink.nvlink = true;
  const NetworkLimit scale_up = plan_network_limit(v3, catalogue.gpu("gb200-nvl72"), nvlink, sheet);
  EXPECT_NEAR(scale_up.communication, 6.72e-6, 1e-9);
  EXPECT_NEAR(scale_up.tpot, 0.82e-3, 0.005e-3);
}

// 14.8k tokens/s a node at 20 to 22 tokens/s a user, as a 24-hour mean: 88 sequences a GPU.
TEST_F(Serving, DecodesAsInProduction) {
  DecodeOptions options;
  options.batch = 88;
  const DecodePlan given = plan_decode(v3, h800, options, sheet);
  EXPECT_NEAR(given.tokens_per_s_node, 14800, 0.15 * 14800);
  EXPECT_NEAR(1 / given.tpot, 21, 0.15 * 21);
  options.batch.reset();
  options.user_tokens_per_s = 20;
  EXPECT_NEAR(plan_decode(v3, h800, options, sheet).tokens_per_s_node, 14800, 0.15 * 14800);
  options.batch = 88;
  options.overlap = Overlap::kNone;
  EXPECT_LT(plan_decode(v3, h800, options, sheet).tokens_per_s_node, given.tokens_per_s_node);
}

TEST_F(Serving, OneMicroBatchWhereTwoCostMore) {
  DecodeOptions options;
  options.batch = 1;
  const double chosen = plan_decode(v3, h800, options, sheet).step;
  options.overlap = Overlap::kNone;
  EXPECT_EQ(chosen, plan_decode(v3, h800, options, sheet).step);
}

// 73.7k tokens/s a node, 56.3% of them found in the cache.
TEST_F(Serving, PrefillsAsInProduction) {
  PrefillOptions options;
  options.cache_hit = 0.563;
  const PrefillPlan piped = plan_prefill(v3, h800, options, sheet);
  EXPECT_NEAR(piped.tokens_per_s_node, 73700, 0.15 * 73700);
  options.overlap = Overlap::kNone;
  EXPECT_LT(plan_prefill(v3, h800, options, sheet).tokens_per_s_node, piped.tokens_per_s_node);
}

// SGLang on the same layout: 50,302 tokens/s a node of 4096-token prompts.
TEST_F(Serving, PrefillsEqualPrompts) {
  PrefillOptions options;
  options.prompt = 4096;
  options.length_spread = 0;
  EXPECT_NEAR(plan_prefill(v3, h800, options, sheet).tokens_per_s_node, 50302, 0.05 * 50302);
}

// Unless the measured figure itself is given.
TEST_F(Serving, AWhatIfOnTheDataSheetMovesWhatWasMeasured) {
  const double before = Rates(h800, sheet).dispatch();
  catalogue.set("h800.nic_gb_s=100");
  EXPECT_DOUBLE_EQ(Rates(h800, sheet).dispatch(), 2 * before);
  catalogue.set("h800.nic_dispatch_gb_s=60");
  EXPECT_DOUBLE_EQ(Rates(h800, sheet).dispatch(), 60e9);
}

TEST_F(Serving, RatioOfPrefillToDecodeNodes) {
  PrefillOptions options;
  options.decode_tokens_per_s_node = 10000;
  options.output_tokens = 4989;
  const PrefillPlan plan = plan_prefill(v3, h800, options, sheet);
  EXPECT_NEAR(plan.prefill_nodes_per_decode_node, 10000 / plan.tokens_per_s_node, 1e-9);
}

TEST_F(Serving, DraftingPaysByItsAcceptance) {
  DecodeOptions options;
  options.batch = 16;
  const double plain = plan_decode(v3, h800, options, sheet).tpot;
  options.mtp_acceptance = 0.85;
  const double drafted = plan_decode(v3, h800, options, sheet).tpot;
  EXPECT_LT(drafted, plain);
  EXPECT_GT(drafted, plain / 1.85);
}

TEST_F(Serving, FasterNetworkHelpsWhereItIsTheLimit) {
  DecodeOptions options;
  options.batch = 64;
  options.overlap = Overlap::kNone;
  const DecodePlan before = plan_decode(v3, h800, options, sheet);
  catalogue.set("h800.nic_low_latency_gb_s=78");
  const DecodePlan after = plan_decode(v3, h800, options, sheet);
  EXPECT_NEAR(after.communication, before.communication / 2, 1e-12);
  EXPECT_EQ(after.computation, before.computation);
}

TEST_F(Serving, OtherHardwareTakesTheH800sShares) {
  const Rates rates(catalogue.gpu("a100"), sheet);
  EXPECT_NEAR(rates.memory(), 2039e9 * 3000 / 3350, 1);
  EXPECT_EQ(rates.gemm_fp8(), rates.gemm_bf16());
}

TEST_F(Serving, RefusesWhatDoesNotFit) {
  DecodeOptions options;
  options.ep = 100;
  EXPECT_THROW(plan_decode(v3, h800, options, sheet), Error);
  options.ep = 144;
  options.batch = 100000;
  EXPECT_THROW(plan_decode(v3, h800, options, sheet), Error);
  options.batch.reset();
  options.user_tokens_per_s = 1e6;
  EXPECT_THROW(plan_decode(v3, h800, options, sheet), Error);
  EXPECT_THROW(plan_decode(model_shape("llama-3.1-8b"), h800, options, sheet), Error);
  EXPECT_THROW(plan_decode(v3, catalogue.gpu("cpu"), {}, sheet), Error);
  options = {};
  options.mtp_acceptance = 0.8;
  options.redundant_experts = 48;
  EXPECT_THROW(plan_decode(model_shape("kimi-k2"), h800, options, sheet), Error);
}

TEST_F(Serving, NodesOfNodeLimitedRouting) {
  EXPECT_DOUBLE_EQ(expected_nodes(v3, 8), 4);  // a group a node: top 4 of 8
  EXPECT_NEAR(expected_nodes(v3, 4), 4 * (1 - 15.0 / 70), 1e-12);
  EXPECT_NEAR(expected_nodes(v3, 1), 1, 1e-12);
  EXPECT_NEAR(expected_nodes(model_shape("mixtral-8x7b"), 2), 1.5, 1e-12);
}

}  // namespace
}  // namespace fathom::cluster
