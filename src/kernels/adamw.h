#pragma once

#include <cstdint>

#include "base/context.h"

namespace fathom::kernels {

struct AdamWStep {
  double lr = 0, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
  double grad_scale = 1;  ///< multiplies the gradient first (clipping)
  int64_t step = 1;       ///< from 1, for the bias corrections
};

/// AdamW (Loshchilov & Hutter 2019) as PyTorch computes it, one pass over memory:
///   w −= lr·wd·w;  m = β1 m + (1−β1) g;  v = β2 v + (1−β2) g²
///   w −= lr · (m / (1−β1^t)) / (sqrt(v / (1−β2^t)) + eps)
/// w F32, g F32, m and v F32 or BF16 (computed in FP32, rounded to nearest when stored),
/// contiguous.
void adamw(Context& ctx, const AdamWStep& step, TensorView w, ConstTensorView g, TensorView m,
           TensorView v);

/// average = decay·average + (1−decay)·w. average F32 or BF16, w F32.
void ema_update(Context& ctx, float decay, ConstTensorView w, TensorView average);

}  // namespace fathom::kernels
