#pragma once

#include "kernels/quantized.h"

namespace fathom::kernels::ref {

/// Element (r, c) of a matrix in any storage format, by the scalar definitions of numerics/, in
/// F32, rounded once.
float weight_at(const GemmInput& x, int64_t r, int64_t c);

}  // namespace fathom::kernels::ref
