#pragma once

#include <span>

#include "kernels/gemm.h"

namespace fathom::kernels::ref {

/// The definition of the matrix products of kernels/gemm.h: inputs rounded as options.precision
/// says, exact products summed in double in ascending k, one rounding to the dtype of C (F32, BF16
/// or F64; F64 keeps the exact sum for error bounds).
void gemm_nt(const GemmInput& a_MK, const GemmInput& b_NK, TensorView c_MN,
             GemmOptions options = {});
void gemm_nn(const GemmInput& a_MK, const GemmInput& b_KN, TensorView c_MN,
             GemmOptions options = {});
void gemm_tn(const GemmInput& a_KM, const GemmInput& b_KN, TensorView c_MN,
             GemmOptions options = {});

/// Element (r, c) of an input before options.precision rounds it: weight_at (ref/weights.h), or
/// F64.
double input_at(const GemmInput& x, int64_t r, int64_t c);

/// One product a group, on the rows [offsets[g], offsets[g+1]).
void grouped_gemm_nt(const GemmInput& a_MK, std::span<const GemmInput> b_GNK, TensorView c_MN,
                     GroupOffsets offsets, GemmOptions options = {});
void grouped_gemm_nn(const GemmInput& a_MK, std::span<const GemmInput> b_GKN, TensorView c_MN,
                     GroupOffsets offsets, GemmOptions options = {});
void grouped_gemm_tn(const GemmInput& a_KM, const GemmInput& b_KN,
                     std::span<const TensorView> c_GMN, GroupOffsets offsets,
                     GemmOptions options = {});

}  // namespace fathom::kernels::ref
