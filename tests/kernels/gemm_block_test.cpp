// block_gemm against the definition, and bit for bit against gemm.
#include <cstring>

#include "gemm_cases.h"
#include "kernels/cpu/block_gemm.h"

namespace fathom::gemm_test {
namespace {

using kernels::cpu::GemmLayout;

struct Block {
  explicit Block(const Case& x)
      : a(operand_a(x.layout, x.a, x.m, x.k, 1)),
        b(operand_b(x.layout, x.b, x.n, x.k, 2)),
        c(DType::kF32, x.m, x.n, 3) {}
  Matrix a, b, c;
};

void run(Context& ctx, const Case& x, Block& block) {
  const auto precision = x.options.precision;
  const size_t bytes = kernels::cpu::block_gemm_workspace(ctx.isa, precision, x.m, x.n, x.k);
  const Tensor workspace(DType::kU8, {static_cast<int64_t>(bytes)});
  kernels::cpu::block_gemm(ctx.isa, static_cast<GemmLayout>(x.layout), precision, block.a.view,
                           block.b.view, block.c.view.matrix<float>(), x.options.accumulate,
                           workspace.view().data);
}

TEST(BlockGemm, MatchesTheDefinition) {
  TestContext t(1);
  for (Layout layout : kLayouts)
    for (DType input : kInputs)
      for (GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16})
        for (bool accumulate : {false, true})
          for (int64_t k : {0, 24, 67, 600}) {
            const Case x{layout, 45, 37, k, input, input, DType::kF32, {precision, accumulate}};
            SCOPED_TRACE(describe(x));
            Block block(x);
            const Matrix before(DType::kF32, x.m, x.n, 3);
            run(t.ctx, x, block);
            expect_product(layout, block.a.view, block.b.view, block.c, before, x.options);
            EXPECT_TRUE(padding_untouched(block.c));
          }
}

TEST(BlockGemm, SameBitsAsGemm) {
  TestContext t(1);
  for (GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16}) {
    const Case x{Layout::kNN, 50, 70, 700, DType::kF32, DType::kBF16, DType::kF32, {precision}};
    Block one(x), other(x);
    run(t.ctx, x, one);
    kernels::gemm_nn(t.ctx, other.a.view, other.b.view, other.c.view, x.options);
    for (int64_t i = 0; i < x.m * x.n; ++i)
      ASSERT_EQ(one.c.get(i / x.n, i % x.n), other.c.get(i / x.n, i % x.n));
  }
}

}  // namespace
}  // namespace fathom::gemm_test
