#pragma once

#include "base/context.h"
#include "kernels/quantized.h"

/// Weights to and from their storage formats, for reading and writing checkpoints. Products need
/// none of this: they read every format as it lies. Rows are spread over the context's threads.
namespace fathom::kernels {

/// w as numbers, each rounded once: F32 or BF16 [N, K]. Any format.
void decode_weights(Context& ctx, const GemmInput& w_NK, TensorView to_NK);

/// Where group-wise integers go; see GemmInput for the shapes. Without zero points, symmetric.
struct GroupedIntOutput {
  StorageFormat format = StorageFormat::kInt4;
  TensorView codes, scale, zero;
  int64_t group = 0;  ///< elements of a row under one scale; 0: the whole row

  GemmInput input(int64_t columns) const {
    return GemmInput::grouped_int(format, codes, columns, scale, group, zero);
  }
};
/// Rounds w (F32, BF16 or F16; finite) to integers by the rules of numerics/group_int.h: the scale
/// is first rounded to its storage type, so that codes are the nearest to what they will mean.
void quantize_grouped_int(Context& ctx, ConstTensorView w_NK, const GroupedIntOutput& to);

/// The same to blocks as ggml's reference encoder makes them: kQ8_0 or kQ4_0 into U8
/// [N, K / 32 · block_bytes]. K is a multiple of 32.
void quantize_gguf(Context& ctx, ConstTensorView w_NK, StorageFormat format, TensorView to);

/// An AWQ matrix (AutoAWQ's GEMM layout: codes packed along the outputs) as kInt4, the same values:
///   qweight I32 [K, N / 8], qzeros I32 [G, N / 8] or empty, scales [G, N]
///   to.codes I32 [N, K / 8], to.zero I32 [N / 8, G] or empty, to.scale [N, G] of scales' dtype
/// N and K are multiples of 8. AWQ's outputs lie side by side, so that neighbours have different
/// scales: neither a table nor one factor serves a vector of codes, and a row of the product would
/// be rounded one element at a time. Turned once while loading, every product is that of kInt4.
void repack_awq(Context& ctx, ConstTensorView qweight, ConstTensorView qzeros,
                ConstTensorView scales, const GroupedIntOutput& to);

}  // namespace fathom::kernels
