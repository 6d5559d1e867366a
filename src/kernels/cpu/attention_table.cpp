#include "kernels/cpu/attention_latent.h"
#include "kernels/cpu/attention_rows.h"

namespace fathom::kernels::cpu {

const AttentionRows& attention_rows([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return avx512::kAttentionRows;
  if (isa == Isa::kAvx2) return avx2::kAttentionRows;
#endif
  return scalar::kAttentionRows;
}

const LatentKernels& latent_kernels([[maybe_unused]] Isa isa, GemmPrecision precision) {
  const bool bf16 = precision == GemmPrecision::kBF16;
#if defined(__x86_64__)
  if (isa == Isa::kAmx && bf16) return amx::kLatentBF16;
  if (isa == Isa::kAvx512Bf16 && bf16) return avx512_bf16::kLatentBF16;
  if (isa >= Isa::kAvx512) return bf16 ? avx512::kLatentBF16 : avx512::kLatentF32;
  if (isa == Isa::kAvx2) return bf16 ? avx2::kLatentBF16 : avx2::kLatentF32;
#endif
  return bf16 ? scalar::kLatentBF16 : scalar::kLatentF32;
}

const LatentRowWriter& latent_row_writer([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return avx512::kLatentWrite;
  if (isa == Isa::kAvx2) return avx2::kLatentWrite;
#endif
  return scalar::kLatentWrite;
}

}  // namespace fathom::kernels::cpu
