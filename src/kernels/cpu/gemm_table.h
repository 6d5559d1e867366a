#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "kernels/cpu/gemm_operand.h"
#include "kernels/gemm.h"

/// The parts of the matrix products that are written for an instruction set: packing, multiplying
/// packed blocks, and (gemm_stream.h) streaming B past a few rows. Single-threaded;
/// cpu/gemm_driver.h blocks and spreads them.
namespace fathom::kernels::cpu {

struct GemmRange {
  int64_t begin = 0, count = 0;
};

/// Rows of memory, distances in bytes.
struct MemoryRows {
  const std::byte* at = nullptr;
  int64_t rows = 0, row_bytes = 0, stride = 0;
};

/// C[rows, cols] (+)= A·B over k elements of K, both packed. Rows and columns that only pad a panel
/// are not written.
struct PackedBlock {
  const std::byte* a = nullptr;
  const std::byte* b = nullptr;
  int64_t a_panel_bytes = 0, b_panel_bytes = 0;  ///< from one panel to the next
  int64_t rows = 0, cols = 0, k = 0;
  float* c = nullptr;
  int64_t c_stride = 0;
  bool accumulate = false;
  MemoryRows next{};  ///< what will be packed after this product: brought closer meanwhile
};

struct StreamKernels;  // gemm_stream.h

/// Packed formats. A word is 4 bytes: one F32, or two BF16 with consecutive k. A segment is kr
/// elements of K, as many words as a vector has lanes (L). K is padded with zeros to whole segments
/// and M and N to whole panels.
///   A panel: mr rows,  [segment][mr][L words of k]
///   B panel: nr columns (nr = L),  [segment][L words of k][nr]
struct GemmKernels {
  const char* name;
  int64_t mr, nr, kr;
  /// Columns multiplied at once, a multiple of nr: blocks that are multiples of it waste nothing.
  int64_t tile_n;
  /// Packs rows `m` and elements `k` of A, or columns `n` of B, into consecutive panels
  /// panel_bytes apart. Reads nothing outside the ranges.
  void (*pack_a)(const GemmOperand& a, GemmRange m, GemmRange k, std::byte* to,
                 int64_t panel_bytes);
  void (*pack_b)(const GemmOperand& b, GemmRange n, GemmRange k, std::byte* to,
                 int64_t panel_bytes);
  void (*multiply)(const PackedBlock& block);
  /// For at most kSmallM rows of A.
  const StreamKernels* stream;
  void (*to_bf16)(const float* from, BF16* to, int64_t count);
  /// Multiplies from registers (tiles from L1) `repetitions` times; returns the FLOPs done.
  double (*burst)(int64_t repetitions);

  int64_t a_panel_bytes(int64_t k) const { return segments(k) * mr * segment_bytes(); }
  int64_t b_panel_bytes(int64_t k) const { return segments(k) * nr * segment_bytes(); }
  int64_t a_panels(int64_t rows) const { return (rows + mr - 1) / mr; }
  int64_t b_panels(int64_t cols) const { return (cols + nr - 1) / nr; }
  /// K is summed in blocks of this size, each in registers, whatever the shape: 256 elements in F32
  /// and 512 in BF16 with AVX-512.
  int64_t block_k() const { return 16 * kr; }
  int64_t segments(int64_t k) const { return (k + kr - 1) / kr; }
  /// Bytes of one row of A (column of B) in a segment.
  int64_t segment_bytes() const { return nr * 4; }
};

/// The kernels of an instruction set for a precision. The set itself must be available.
const GemmKernels& gemm_kernels(Isa isa, GemmPrecision precision);

}  // namespace fathom::kernels::cpu
