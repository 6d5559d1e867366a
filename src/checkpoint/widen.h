#pragma once

#include "base/tensor.h"

namespace fathom {

/// The values of a contiguous BF16, F16, E8M0 or F32 tensor as F32.
Tensor widen(const ConstTensorView& x);

}  // namespace fathom
