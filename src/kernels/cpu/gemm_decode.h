#pragma once

#include "kernels/cpu/gemm_table.h"

/// Rows of stored weights turned into F32 or BF16, for formats that products do not read as they
/// lie: panels are packed and a few rows multiplied from a piece of decoded rows in L1, so that no
/// kernel knows a format (docs/performance/weight_formats.md).
namespace fathom::kernels::cpu {

constexpr bool is_decoded(StorageFormat format) {
  return format == StorageFormat::kF16 || is_packed(format);
}

/// Elements `cols` of row r of a matrix as it lies in memory: as numerics/ defines them, in F32 or
/// rounded to BF16 (subnormal numbers may become zero, as in BF16 products). Meanwhile memory
/// `ahead` bytes further on is asked for.
struct DecodeKernels {
  void (*to_bf16)(const GemmOperand& x, int64_t r, GemmRange cols, int64_t ahead, BF16* to);
  void (*to_f32)(const GemmOperand& x, int64_t r, GemmRange cols, int64_t ahead, float* to);
};

/// By StorageFormat; all but kE4M3. The entry of each instruction set, defined where it is
/// compiled.
#define FATHOM_DECLARE_DECODE(isa)                     \
  namespace isa {                                      \
  extern const DecodeKernels kDecode[kStorageFormats]; \
  }
FATHOM_DECLARE_DECODE(scalar)
FATHOM_DECLARE_DECODE(avx2)
FATHOM_DECLARE_DECODE(avx512)
FATHOM_DECLARE_DECODE(avx512_bf16)
FATHOM_DECLARE_DECODE(amx)
FATHOM_DECLARE_DECODE(amx_emulated)  // tests only
#undef FATHOM_DECLARE_DECODE

const DecodeKernels& decode_kernels(Isa isa, StorageFormat format);

}  // namespace fathom::kernels::cpu
