#include "kernels/cpu/attention_rows.h"

namespace fathom::kernels::cpu {

const AttentionRows& attention_rows([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return avx512::kAttentionRows;
  if (isa == Isa::kAvx2) return avx2::kAttentionRows;
#endif
  return scalar::kAttentionRows;
}

}  // namespace fathom::kernels::cpu
