#pragma once

#include "kernels/quantized.h"
#include "model/pass.h"

/// The products of FP8 Linears through the emulated accumulator of pass.fp8 (kernels/
/// emulated_gemm.h), which contracts along rows of codes: for studies, far slower than FP32.
namespace fathom {

/// c_MN (+)= a_MK · b_NKᵀ; codes in tiles of 1x128 or 128x128; c F32, or BF16 when not accumulated.
void emulated_nt(const Pass& pass, const kernels::GemmInput& a_MK, const kernels::GemmInput& b_NK,
                 TensorView c_MN, bool accumulate);
/// c_MK (+)= a_MN · b_NK, b in blocks of 128x128.
void emulated_nn(const Pass& pass, const kernels::GemmInput& a_MN, const kernels::GemmInput& b_NK,
                 TensorView c_MK, bool accumulate);
/// x_TKᵀ quantized in tiles of 1x128: along the tokens.
kernels::GemmInput transposed_codes(const Pass& pass, const kernels::GemmInput& x_TK,
                                    kernels::ScaleFormat scale);

}  // namespace fathom
