#pragma once

#include "kernels/cpu/gemm_table.h"

/// The entry of each instruction set, defined where it is compiled.
#define FATHOM_DECLARE_GEMM(isa)      \
  namespace isa {                     \
  extern const GemmKernels kGemmF32;  \
  extern const GemmKernels kGemmBF16; \
  }

namespace fathom::kernels::cpu {
FATHOM_DECLARE_GEMM(scalar)
FATHOM_DECLARE_GEMM(avx2)
FATHOM_DECLARE_GEMM(avx512)
FATHOM_DECLARE_GEMM(avx512_bf16)
FATHOM_DECLARE_GEMM(amx)
FATHOM_DECLARE_GEMM(amx_emulated)  // tests only
}  // namespace fathom::kernels::cpu

#undef FATHOM_DECLARE_GEMM
