#pragma once

#include <cstdint>
#include <vector>

#include "kernels/quantize.h"
#include "kernels/ref/ops.h"

namespace fathom::kernels::ref {

/// Codes [R, C] and scales [⌈R / tile.rows⌉, ⌈C / tile.cols⌉], contiguous.
struct Quantized {
  std::vector<uint8_t> codes;
  std::vector<float> scale;
};

/// The definition of kernels/quantize.h, bit for bit: x holds FP32 values.
Quantized quantize(const Values& x_RC, int64_t cols, ScaleTile tile, ScaleFormat format);
Values dequantize(const Quantized& q, int64_t cols, ScaleTile tile);

}  // namespace fathom::kernels::ref
