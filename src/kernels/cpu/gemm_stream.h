#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/gemm_table.h"

/// Products with at most kSmallM rows of A: B streams from memory once and is converted on the way
/// to the registers, so that memory bandwidth is their roof (docs/performance/few_rows.md).
namespace fathom::kernels::cpu {

/// Columns under one scale of a 128x128 block, and elements of K under one scale.
inline constexpr int64_t kScaleSide = 128;

/// sums[m·sums_stride + j] = Σ_k a[m][k] · b[col + j][k] for m in [0, rows), j in [0, cols).
/// Each sum has one order of additions, whatever the rows and columns of the block.
struct StreamBlock {
  const std::byte* a = nullptr;  ///< as `pack` writes it
  int64_t rows = 0, k = 0;
  GemmOperand b;
  int64_t col = 0, cols = 0;  ///< cols at most max_cols; under one row of scales when k_contiguous
  float* sums = nullptr;      ///< max_cols floats a row
  int64_t sums_stride = 0;
  std::byte* tables = nullptr;  ///< room for a table for each 128 of max(k, max_cols)
};

/// The kernel for one layout of B.
struct StreamKernel {
  int64_t max_cols;
  /// Bytes of `rows` rows of A as packed.
  int64_t (*packed_bytes)(int64_t rows, int64_t k);
  /// Packs rows [0, rows) of a k-contiguous A for products with b, or any matrix of its format that
  /// has zero points where b has.
  void (*pack)(const GemmOperand& a, const GemmOperand& b, int64_t rows, int64_t k, std::byte* to);
  void (*run)(const StreamBlock& block);
};

struct StreamKernels {
  StreamKernel nt;  ///< B k-contiguous
  StreamKernel nn;  ///< B outer-contiguous
};

/// What a scale is turned into before its codes are decoded: at most this large, 64-byte aligned.
inline constexpr int64_t kScaleTableBytes = 256;
inline int64_t scale_table_bytes(int64_t elements) {
  return (elements + kScaleSide - 1) / kScaleSide * kScaleTableBytes;
}

/// Whether the kernels read B as it is. E4M3 must be scaled in 128x128 blocks, and no word of K may
/// lie under two scales or end beyond K.
inline bool can_stream(const GemmOperand& b, int64_t k) {
  if (b.format != StorageFormat::kE4M3) return true;
  return b.tile == kBlock128x128 && (b.k_contiguous || (b.first_row % 8 == 0 && k % 2 == 0));
}

/// The entry of each instruction set, defined where it is compiled.
#define FATHOM_DECLARE_STREAM(isa)        \
  namespace isa {                         \
  extern const StreamKernels kStreamF32;  \
  extern const StreamKernels kStreamBF16; \
  }
FATHOM_DECLARE_STREAM(scalar)
FATHOM_DECLARE_STREAM(avx2)
FATHOM_DECLARE_STREAM(avx512)
FATHOM_DECLARE_STREAM(avx512_bf16)
FATHOM_DECLARE_STREAM(amx)
FATHOM_DECLARE_STREAM(amx_emulated)  // tests only
#undef FATHOM_DECLARE_STREAM

}  // namespace fathom::kernels::cpu
