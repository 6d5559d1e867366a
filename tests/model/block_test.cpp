#include "model/block.h"

#include <gtest/gtest.h>

#include "infer/infer_test.h"

namespace fathom {
namespace {

// A micro-batch on its way through one block.
struct MicroBatch {
  MicroBatch(Context& ctx, const Transformer& model, uint64_t seed)
      : tokens(random_tokens(model.config(), 13, seed)),
        range(0, 13),
        pass(range.pass(ctx, GemmPrecision::kF32)),
        residual_TD(model.embed(pass, tokens)) {}

  std::vector<int32_t> tokens;
  TokenRange range;
  Pass pass;
  TensorView residual_TD;
  BlockSaved saved;
  BlockGradients gradients;
};

class BlockPhases : public testing::TestWithParam<size_t> {
 protected:
  const Block& block() const { return model_->layers()[GetParam()]; }

  TestModel model_{small_config(), DType::kF32, 3};
  ThreadPool pool_{2};
  Arena arena_;
  Context ctx_{Device{}, pool_, arena_};
};

constexpr BalanceLoss kBalance{0.01f, 1};

// As a schedule that overlaps two micro-batches does it.
TEST_P(BlockPhases, InterleavedForwardIsTheForward) {
  MicroBatch a(ctx_, *model_, 1), b(ctx_, *model_, 2), a1(ctx_, *model_, 1), b1(ctx_, *model_, 2);
  block().attention(a.pass, a.residual_TD, a.saved);
  block().dispatch(a.pass, a.residual_TD, kBalance, a.saved);
  block().attention(b.pass, b.residual_TD, b.saved);
  block().experts(a.pass, a.residual_TD, a.saved);
  block().dispatch(b.pass, b.residual_TD, kBalance, b.saved);
  block().combine(a.pass, a.residual_TD, a.saved);
  block().experts(b.pass, b.residual_TD, b.saved);
  block().combine(b.pass, b.residual_TD, b.saved);
  block().forward(a1.pass, a1.residual_TD, kBalance);
  block().forward(b1.pass, b1.residual_TD, kBalance);
  EXPECT_EQ(values(a.residual_TD), values(a1.residual_TD));
  EXPECT_EQ(values(b.residual_TD), values(b1.residual_TD));
}

TEST_P(BlockPhases, BackwardPhasesAreTheBackward) {
  MicroBatch a(ctx_, *model_, 1);
  a.saved = block().forward(a.pass, a.residual_TD, kBalance);
  MicroBatch whole(ctx_, *model_, 4), phases(ctx_, *model_, 4);  // any gradient of the output
  block().backward_input(a.pass, a.saved, whole.residual_TD);
  BlockGradients& g = phases.gradients;
  block().combine_backward(a.pass, a.saved, phases.residual_TD, g);
  block().experts_backward_input(a.pass, a.saved, phases.residual_TD, g);
  block().dispatch_backward_input(a.pass, a.saved, phases.residual_TD, g);
  block().attention_backward_input(a.pass, a.saved, phases.residual_TD, g);
  EXPECT_EQ(values(whole.residual_TD), values(phases.residual_TD));
}

INSTANTIATE_TEST_SUITE_P(DenseAndMixture, BlockPhases, testing::Values(0u, 1u));

}  // namespace
}  // namespace fathom
