// Stored weights on AMX tiles, on any machine: packed and streamed over emulated tiles.
#include "kernels/cpu/gemm_driver.h"
#include "kernels/cpu/gemm_kernels.h"
#include "stored_matrix.h"

namespace fathom::gemm_test {
namespace {

using kernels::cpu::operand_of;

TEST(AmxStoredGemm, EveryFormat) {
  TestContext t;
  for (const Storage& s : kStorages)
    for (Layout layout : {Layout::kNT, Layout::kNN})
      for (int64_t m : {1, 16, 40})
        for (int64_t size : {31, 300}) {
          SCOPED_TRACE(describe(s) + " " + std::to_string(m) + " " + std::to_string(size));
          const bool nt = layout == Layout::kNT;
          const int64_t cols = columns_of(s, size), rows = 50;
          const int64_t n = nt ? rows : cols, k = nt ? cols : rows;
          const StoredMatrix b(s, rows, cols, 3, 2);
          const Matrix a(DType::kBF16, m, k, 1), c(DType::kF32, m, n, 3);
          const kernels::cpu::GemmProblem problem{m,
                                                  n,
                                                  k,
                                                  operand_of(a.view, true),
                                                  operand_of(b.input, nt),
                                                  c.view.data,
                                                  DType::kF32,
                                                  c.view.stride[0]};
          kernels::cpu::run_gemms(t.ctx, kernels::cpu::amx_emulated::kGemmBF16, {&problem, 1},
                                  false);
          expect_product(layout, a.view, b.values, c, c, {});
        }
}

}  // namespace
}  // namespace fathom::gemm_test
