#pragma once

#include <cstdint>

#include "base/context.h"

namespace fathom::kernels {

/// Small operations over whole tensors (any rank for contiguous ones, rank 2 when strided).

void fill(Context& ctx, TensorView x, float value);
/// y = x with conversion between F32 and BF16; shapes equal, row strides free.
void copy(Context& ctx, ConstTensorView x, TensorView y);
/// y += scale·x.  x F32 or BF16, y F32.
void add_scaled(Context& ctx, float scale, ConstTensorView x, TensorView y);
/// Σ x², in FP64 over a fixed partition: the same bits for any number of threads. NaN and infinity
/// propagate. x F32 or BF16.
double sum_of_squares(Context& ctx, ConstTensorView x);
double sum(Context& ctx, ConstTensorView x);

}  // namespace fathom::kernels
