#include "kernels/cpu/gemm_table.h"

#include "kernels/cpu/gemm_decode.h"
#include "kernels/cpu/gemm_kernels.h"

namespace fathom::kernels::cpu {

const GemmKernels& gemm_kernels(Isa isa, GemmPrecision precision) {
  const bool bf16 = precision == GemmPrecision::kBF16;
  switch (isa) {
    case Isa::kScalar:
      break;
#if defined(__x86_64__)
    case Isa::kAvx2:
      return bf16 ? avx2::kGemmBF16 : avx2::kGemmF32;
    case Isa::kAvx512:
      return bf16 ? avx512::kGemmBF16 : avx512::kGemmF32;
    case Isa::kAvx512Bf16:
      return bf16 ? avx512_bf16::kGemmBF16 : avx512_bf16::kGemmF32;
    case Isa::kAmx:
      return bf16 ? amx::kGemmBF16 : amx::kGemmF32;
#else
    default:
      FATHOM_ASSERT(!"an instruction set of another architecture");
#endif
  }
  return bf16 ? scalar::kGemmBF16 : scalar::kGemmF32;
}

const DecodeKernels& decode_kernels(Isa isa, StorageFormat format) {
  const auto i = static_cast<size_t>(format);
  switch (isa) {
    case Isa::kScalar:
      break;
#if defined(__x86_64__)
    case Isa::kAvx2:
      return avx2::kDecode[i];
    case Isa::kAvx512:
      return avx512::kDecode[i];
    case Isa::kAvx512Bf16:
      return avx512_bf16::kDecode[i];
    case Isa::kAmx:
      return amx::kDecode[i];
#else
    default:
      FATHOM_ASSERT(!"an instruction set of another architecture");
#endif
  }
  return scalar::kDecode[i];
}

}  // namespace fathom::kernels::cpu
