#pragma once

#include <cstdint>
#include <span>

#include "base/context.h"
#include "kernels/quantize.h"

namespace fathom::kernels {

/// What the inputs are rounded to before they are multiplied. Products are accumulated in FP32
/// either way. kBF16 rounds FP32 inputs and scaled E4M3 values to BF16 as panels are packed (with
/// power-of-two scales that is exact); BF16 inputs are used as they are. Codes with scales (formats
/// that is_packed) are rounded to BF16 likewise, or, where a few rows of A are streamed past them,
/// not at all: codes are exact in BF16, and scales multiply sums in FP32. kF32 multiplies in FP32
/// (BF16 inputs are widened, E4M3 values times their scales are rounded to FP32).
enum class GemmPrecision : uint8_t { kF32, kBF16 };

struct GemmOptions {
  GemmPrecision precision = GemmPrecision::kBF16;
  bool accumulate = false;  ///< C += A·B instead of C = A·B; C is then F32
};

/// General matrix products. Inputs are F32, BF16, or E4M3 with scales, each as stored (any row
/// stride, last dimension contiguous); C is F32 or BF16. Names say how the operands lie in memory,
/// as in BLAS: N as in the formula C[M,N] = A[M,K]·B[K,N], T transposed. FLOPs: 2·M·N·K.
///
/// Results do not depend on the number of threads. A row of C depends on its row of A and on B, not
/// on the other rows, as long as M stays within [1, kSmallM]: decoding one token or verifying a few
/// gives the same bits. Where the context asks for one product_form that holds for every M.
inline constexpr int64_t kSmallM = 16;

/// C[M,N] = A[M,K] · B[N,K]ᵀ: y = x·Wᵀ with W as stored in a checkpoint.
void gemm_nt(Context& ctx, const GemmInput& a_MK, const GemmInput& b_NK, TensorView c_MN,
             GemmOptions options = {});
/// C[M,N] = A[M,K] · B[K,N]: the input gradient dx = dy·W.
void gemm_nn(Context& ctx, const GemmInput& a_MK, const GemmInput& b_KN, TensorView c_MN,
             GemmOptions options = {});
/// C[M,N] = A[K,M]ᵀ · B[K,N]: the weight gradient dW = dyᵀ·x.
void gemm_tn(Context& ctx, const GemmInput& a_KM, const GemmInput& b_KN, TensorView c_MN,
             GemmOptions options = {});

/// One of several independent products c = a · bᵀ.
struct GemmNT {
  GemmInput a_MK, b_NK;
  TensorView c_MN;
};
/// Computes them together in one parallel region: the projections of one input, gate and up of the
/// experts of a token. Each has the bits it would have alone.
void batch_gemm_nt(Context& ctx, std::span<const GemmNT> products, GemmOptions options = {});

/// Grouped products for experts: group g owns rows [offsets[g], offsets[g+1]) of the activations
/// (offsets has G+1 entries, ascending; empty groups are allowed) and matrix g. One parallel region
/// for all groups, work spread by FLOPs.
using GroupOffsets = std::span<const int64_t>;

/// c[rows of g] = a[rows of g] · b[g]ᵀ;  b[g] is [N,K].
void grouped_gemm_nt(Context& ctx, const GemmInput& a_MK, std::span<const GemmInput> b_GNK,
                     TensorView c_MN, GroupOffsets offsets, GemmOptions options = {});
/// The masked form, for decoding: every group has room for the same number of rows, M / G, of which
/// the first counts[g] are present. Other rows of c stay as they are. Up to kSmallM rows of a group
/// meet its matrix in one pass over it.
void masked_gemm_nt(Context& ctx, const GemmInput& a_MK, std::span<const GemmInput> b_GNK,
                    TensorView c_MN, std::span<const int64_t> counts, GemmOptions options = {});
/// c[rows of g] = a[rows of g] · b[g];  b[g] is [K,N].
void grouped_gemm_nn(Context& ctx, const GemmInput& a_MK, std::span<const GemmInput> b_GKN,
                     TensorView c_MN, GroupOffsets offsets, GemmOptions options = {});
/// c[g] = a[rows of g]ᵀ · b[rows of g];  c[g] is [M,N]. An empty group leaves C as it is when
/// accumulating and zero otherwise.
void grouped_gemm_tn(Context& ctx, const GemmInput& a_KM, const GemmInput& b_KN,
                     std::span<const TensorView> c_GMN, GroupOffsets offsets,
                     GemmOptions options = {});

/// What the SwiGLU pair writes. Empty views are not written, but of act and act_quantized at least
/// one must be.
struct SwigluOutput {
  TensorView act_MN;              ///< F32 or BF16
  QuantizedOutput act_quantized;  ///< tiles of 1x128, from FP32, not from the rounded act
  TensorView gate_up_MN2;         ///< F32 or BF16: both products, gate first, for the backward
  ConstTensorView weight_M;       ///< F32: multiplies each row of act; empty for ones
};

/// The first half of a gated MLP in one pass: act = silu(a·gateᵀ) ⊙ (a·upᵀ), activated in FP32
/// while a block of both products is in cache. a is packed once for both; K at least 1.
void gemm_nt_swiglu(Context& ctx, const GemmInput& a_MK, const GemmInput& gate_NK,
                    const GemmInput& up_NK, const SwigluOutput& out,
                    GemmPrecision precision = GemmPrecision::kBF16);
/// The same for groups that own rows of a and of the outputs, with a gate and an up matrix each.
void grouped_gemm_nt_swiglu(Context& ctx, const GemmInput& a_MK,
                            std::span<const GemmInput> gate_GNK, std::span<const GemmInput> up_GNK,
                            const SwigluOutput& out, GroupOffsets offsets,
                            GemmPrecision precision = GemmPrecision::kBF16);

}  // namespace fathom::kernels
