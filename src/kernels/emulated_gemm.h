#pragma once

#include "base/context.h"
#include "kernels/quantized.h"

namespace fathom::kernels {

/// How an FP8 tensor core adds products up (report section 3.3.2; "FP22" of the hardware paper): a
/// group of products and the accumulator are shifted to the greatest exponent among them and cut
/// off after `bits` bits; of their sum the accumulator keeps the first `bits` bits. All by
/// truncation. After every `promotion` products (N_C; a multiple of group) the accumulator is added
/// to an FP32 sum and starts again from zero. With K = 4096 normal inputs and no promotion the
/// greatest error is 1 to 2% of the results' root mean square, as reported; with N_C = 128 it is
/// 0.05%.
struct TensorCoreAccumulator {
  int group = 32, bits = 14;
  int64_t promotion = 128;  ///< 0: only at the end
};

/// c_MN = a_MK · b_NKᵀ as such a unit computes it, to study its error: reference grade, far slower
/// than gemm. Both inputs E4M3, tiles of 1x128 or 128x128; c F32. Up to N_C = 128 (a divisor of it)
/// products of codes are accumulated and scales applied on promotion, as on Hopper; larger
/// intervals span several scales, so products are scaled before they are added.
void emulated_gemm(Context& ctx, const ConstQuantizedView& a_MK, const ConstQuantizedView& b_NK,
                   TensorView c_MN, const TensorCoreAccumulator& accumulator);

}  // namespace fathom::kernels
