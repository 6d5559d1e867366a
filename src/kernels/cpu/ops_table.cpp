#include "kernels/cpu/ops_table.h"

#include "base/cpu.h"

namespace fathom::kernels::cpu {
namespace {

#define FATHOM_OPS(isa, with_bf16)                                                             \
  {                                                                                            \
    isa::kNormOps, with_bf16::kActivationOps, isa::kLossOps, isa::kRowOps, isa::kOptimizerOps, \
        isa::kPackOps, with_bf16::kQuantizeOps                                                 \
  }
constexpr OpsTable kScalar = FATHOM_OPS(scalar, scalar);
#if defined(__x86_64__)
constexpr OpsTable kAvx2 = FATHOM_OPS(avx2, avx2);
constexpr OpsTable kAvx512 = FATHOM_OPS(avx512, avx512);
constexpr OpsTable kAvx512Bf16 = FATHOM_OPS(avx512, avx512_bf16);
#endif
#undef FATHOM_OPS

}  // namespace

const OpsTable& ops_table(Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512Bf16) return kAvx512Bf16;
  if (isa == Isa::kAvx512) return kAvx512;
  if (isa == Isa::kAvx2) return kAvx2;
#endif
  (void)isa;
  return kScalar;
}

}  // namespace fathom::kernels::cpu
