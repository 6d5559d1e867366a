#pragma once

#include "base/context.h"

namespace fathom::kernels {

/// Rows of E5M6 with a power-of-two scale for each 128 values, as DeepSeek-V3 caches the input of
/// o_proj (report section 3.3.3): numerics/e5m6.h is the format, scale = 2^⌈log2(amax / 65024)⌉. Of
/// the 12 bits of a value the upper eight come first: a group is 128 bytes of those and 64 bytes of
/// lower halves, value i's in the low and value i + 64's in the high half of byte i. The last group
/// of a row is filled with zeros.

/// Bytes of a packed row of `cols` values, and its scales.
constexpr int64_t e5m6_row_bytes(int64_t cols) {
  return (cols + 127) / 128 * 192;
}
constexpr int64_t e5m6_row_scales(int64_t cols) {
  return (cols + 127) / 128;
}

/// x_TC F32 or BF16; packed_TB U8 [T, e5m6_row_bytes(C)]; scale_TG U8 [T, e5m6_row_scales(C)]:
/// UE8M0. NaN stays NaN in its place; infinity makes its group NaN.
void e5m6_pack(Context& ctx, ConstTensorView x_TC, TensorView packed_TB, TensorView scale_TG);

/// Exact in F32 and BF16 (but for results below 2^-126).
void e5m6_unpack(Context& ctx, ConstTensorView packed_TB, ConstTensorView scale_TG,
                 TensorView x_TC);

}  // namespace fathom::kernels
