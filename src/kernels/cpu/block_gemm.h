#pragma once

#include <cstddef>

#include "base/cpu.h"
#include "base/tensor.h"
#include "kernels/gemm.h"

namespace fathom::kernels::cpu {

/// How the operands of a product lie in memory, named as in gemm.h.
enum class GemmLayout : uint8_t { kNT, kNN, kTN };

/// Bytes of workspace that block_gemm needs for C[m,n] = Σ over k: grows with m, n and k, so the
/// size for the largest block serves all smaller ones.
size_t block_gemm_workspace(Isa isa, GemmPrecision precision, int64_t m, int64_t n, int64_t k);

/// C (+)= A·B on the calling thread alone, for blocks that fit a core's cache: the tiles of
/// attention, say. a and b are F32 or BF16 with any row stride; shapes follow from the layout as in
/// gemm.h. The workspace is 64-byte aligned, of block_gemm_workspace bytes, one a thread. Same
/// arithmetic as gemm_nn of the same precision and instruction set; rows do not depend on each
/// other.
void block_gemm(Isa isa, GemmLayout layout, GemmPrecision precision, ConstTensorView a,
                ConstTensorView b, MatrixView<float> c, bool accumulate, void* workspace);

}  // namespace fathom::kernels::cpu
