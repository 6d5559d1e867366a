// Few rows on AMX tiles, on any machine: cpu/gemm_stream_amx.h over emulated tiles.
#include "gemm_cases.h"
#include "kernels/cpu/gemm_driver.h"
#include "kernels/cpu/gemm_kernels.h"

namespace fathom::gemm_test {
namespace {

using kernels::cpu::GemmProblem;
using kernels::cpu::operand_of;
using kernels::cpu::amx_emulated::kGemmBF16;

Matrix product(Context& ctx, Layout layout, const GemmInput& a, const GemmInput& b) {
  const int64_t n = layout == Layout::kNT ? b.rows() : b.cols();
  Matrix c(DType::kF32, a.rows(), n, 3);
  const GemmProblem problem{a.rows(),
                            n,
                            a.cols(),
                            operand_of(a, true),
                            operand_of(b, layout == Layout::kNT),
                            c.view.data,
                            DType::kF32,
                            c.view.stride[0]};
  kernels::cpu::run_gemms(ctx, kGemmBF16, {&problem, 1}, false);
  return c;
}

void check(Context& ctx, Layout layout, const GemmInput& a, const GemmInput& b) {
  const Matrix c = product(ctx, layout, a, b);
  expect_product(layout, a, b, c, c, {});
  EXPECT_TRUE(padding_untouched(c));
}

TEST(AmxFewRows, EveryFormatAndOddSizes) {
  TestContext t;
  for (int64_t m : {1, 5, 16})
    for (int64_t n : {1, 16, 31, 150})
      for (int64_t k : {1, 31, 64, 65, 200}) {
        const Matrix a(DType::kF32, m, k, 1);
        for (Layout layout : {Layout::kNT, Layout::kNN}) {
          for (DType dtype : kInputs)
            check(t.ctx, layout, a.view, operand_b(layout, dtype, n, k, 2).view);
          const int64_t rows = layout == Layout::kNT ? n : k, cols = layout == Layout::kNT ? k : n;
          check(t.ctx, layout, a.view,
                ScaledMatrix(rows, cols, kernels::kBlock128x128, 120, 2).input);
        }
      }
}

TEST(AmxFewRows, ARowDependsNeitherOnTheOthersNorOnThreads) {
  TestContext one(1), three(3);
  const Matrix a(DType::kF32, kernels::kSmallM, 170, 1);
  const ScaledMatrix b(300, 170, kernels::kBlock128x128, 0, 2);
  const Matrix all = product(one.ctx, Layout::kNT, a.view, b.input);
  for (int64_t m : {1, 2, 7}) {
    const Matrix some =
        product(three.ctx, Layout::kNT, GemmInput(a.view).row_range(16 - m, m), b.input);
    for (int64_t i = 0; i < m * 300; ++i)
      ASSERT_EQ(some.get(i / 300, i % 300), all.get(16 - m + i / 300, i % 300));
  }
}

}  // namespace
}  // namespace fathom::gemm_test
