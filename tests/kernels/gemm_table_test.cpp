// The implementation that FATHOM_ISA forces is the one that runs.
#include <cstdlib>
#include <string>

#include "gemm_cases.h"
#include "kernels/cpu/gemm_table.h"
#include "kernels/cpu/roof.h"

namespace fathom::gemm_test {
namespace {

TEST(GemmTable, EntriesAreNamedAfterTheirInstructionSet) {
  for (Isa isa : available_isas())
    for (GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16}) {
      const std::string name = kernels::cpu::gemm_kernels(isa, precision).name;
      EXPECT_TRUE(name.starts_with(name_of(isa) + std::string(" "))) << name;
    }
}

TEST(GemmTable, ForcedInstructionSetIsTheOneOfTheContext) {
  TestContext t(1);
  EXPECT_EQ(t.ctx.isa, active_isa());
  const char* forced = std::getenv("FATHOM_ISA");
  if (!forced) GTEST_SKIP() << "FATHOM_ISA is not set";
  EXPECT_STREQ(name_of(t.ctx.isa), forced);
}

// A vector of 64 bytes multiplies 16 F32, one of 16 bytes 4: were another variant running, the
// panels would have another width.
TEST(GemmTable, PanelsHaveTheWidthOfTheVectors) {
  const auto lanes = [](Isa isa) { return isa == Isa::kScalar ? 4 : isa == Isa::kAvx2 ? 8 : 16; };
  for (Isa isa : available_isas())
    EXPECT_EQ(kernels::cpu::gemm_kernels(isa, GemmPrecision::kF32).nr, lanes(isa));
}

TEST(Roof, IsPositiveForEveryPrecision) {
  TestContext t;
  for (GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16}) {
    const double peak = kernels::measure_peak_flops(t.ctx, precision);
    EXPECT_GT(peak, 1e8);
    EXPECT_LT(peak, 1e15);
  }
}

}  // namespace
}  // namespace fathom::gemm_test
