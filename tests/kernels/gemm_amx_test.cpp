// The AMX path on any machine: the same packing, blocking and micro-kernel compiled against
// emulated tiles (cpu/amx_tile.h).
#include "gemm_cases.h"
#include "kernels/cpu/gemm_driver.h"
#include "kernels/cpu/gemm_kernels.h"

namespace fathom::gemm_test {
namespace {

using kernels::cpu::GemmOperand;
using kernels::cpu::amx_emulated::kGemmBF16;

GemmOperand operand(const Matrix& x, bool k_contiguous) {
  return kernels::cpu::operand_of(x.view, k_contiguous);
}

void check(Context& ctx, const Case& x) {
  SCOPED_TRACE(describe(x));
  const Matrix a = operand_a(x.layout, x.a, x.m, x.k, 1), b = operand_b(x.layout, x.b, x.n, x.k, 2);
  Matrix c(x.c, x.m, x.n, 3);
  const Matrix before(x.c, x.m, x.n, 3);
  const kernels::cpu::GemmProblem problem{x.m,
                                          x.n,
                                          x.k,
                                          operand(a, x.layout != Layout::kTN),
                                          operand(b, x.layout == Layout::kNT),
                                          c.view.data,
                                          x.c,
                                          c.view.stride[0]};
  kernels::cpu::run_gemms(ctx, kGemmBF16, {&problem, 1}, x.options.accumulate);
  expect_product(x.layout, a.view, b.view, c, before, x.options);
  EXPECT_TRUE(padding_untouched(c));
}

TEST(AmxGemm, EveryLayoutAndDtype) {
  TestContext t;
  for (Layout layout : kLayouts)
    for (DType input : kInputs)
      for (bool accumulate : {false, true})
        check(t.ctx,
              {layout, 65, 49, 70, input, input, DType::kF32, {GemmPrecision::kBF16, accumulate}});
}

TEST(AmxGemm, CornersOfTilesAndSeveralBlocksOfK) {
  TestContext t;
  for (int64_t m : {17, 32, 33})
    for (int64_t n : {1, 16, 32, 47})
      for (int64_t k : {1, 32, 600})
        for (DType c : kInputs)
          check(t.ctx, {Layout::kNT, m, n, k, DType::kBF16, DType::kBF16, c, {}});
}

GemmOperand operand(const ScaledMatrix& x, bool k_contiguous) {
  return kernels::cpu::operand_of(x.input, k_contiguous);
}

TEST(AmxGemm, ScaledInputs) {
  TestContext t;
  const int64_t m = 40, n = 140, k = 150;
  for (Layout layout : kLayouts)
    for (kernels::ScaleTile tile :
         {kernels::kTile1x128, kernels::kTile128x1, kernels::kBlock128x128}) {
      const bool tn = layout == Layout::kTN, nt = layout == Layout::kNT;
      const ScaledMatrix a(tn ? k : m, tn ? m : k, tile, 5, 1);
      const ScaledMatrix b(nt ? n : k, nt ? k : n, tile, 5, 2);
      const Matrix c(DType::kF32, m, n, 3);
      const kernels::cpu::GemmProblem problem{
          m, n, k, operand(a, !tn), operand(b, nt), c.view.data, DType::kF32, c.view.stride[0]};
      kernels::cpu::run_gemms(t.ctx, kGemmBF16, {&problem, 1}, false);
      expect_product(layout, a.input, b.input, c, c, {});
    }
}

TEST(AmxGemm, ARowDoesNotDependOnTheOthers) {
  TestContext t;
  const int64_t n = 40, k = 90, rows = 33;
  const Matrix a(DType::kBF16, rows, k, 1), b(DType::kBF16, k, n, 2);
  Matrix all(DType::kF32, rows, n, 3), some(DType::kF32, 20, n, 4);
  const auto run = [&](int64_t row, int64_t count, const Matrix& c) {
    GemmOperand from = operand(a, true);
    from.data = a.view.row_range(row, count).data;
    const kernels::cpu::GemmProblem problem{
        count, n, k, from, operand(b, false), c.view.data, DType::kF32, c.view.stride[0]};
    kernels::cpu::run_gemms(t.ctx, kGemmBF16, {&problem, 1}, false);
  };
  run(0, rows, all);
  run(10, 20, some);
  for (int64_t i = 0; i < 20 * n; ++i)
    ASSERT_EQ(some.get(i / n, i % n), all.get(10 + i / n, i % n));
}

}  // namespace
}  // namespace fathom::gemm_test
