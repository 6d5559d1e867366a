#pragma once

#include <cstdint>
#include <span>

#include "base/context.h"

namespace fathom::kernels {

/// Rotary embedding on interleaved pairs (spec A.3): (x[2i], x[2i+1]) is multiplied as a complex
/// number by cos_PI[p][i] + j·sin_PI[p][i], p the token's position. In place; x_THR is F32 or BF16
/// [T, H, R] with any token and head stride; cos_PI, sin_PI are F32 [positions, R/2]. `inverse`
/// rotates back, which is the backward.
void rope(Context& ctx, TensorView x_THR, std::span<const int32_t> position_T,
          ConstTensorView cos_PI, ConstTensorView sin_PI, bool inverse);

}  // namespace fathom::kernels
