#pragma once

#include "base/context.h"

namespace fathom::kernels {

/// Rows of LogFMT-8 or LogFMT-10 (numerics/logfmt.h), for what the combine of experts sends. A row
/// is its codes, group after group of 128, then for each group (amax, amin) as two BF16:
/// C·bits/8 + (C/128)·4 bytes. Ten-bit codes are packed by 16 as DeepEP packs them; of eight bits
/// the highest is the sign. The last group is filled with zeros.
struct LogFmt {
  int bits = 8;                ///< 8 or 10
  bool zeros_in_amin = false;  ///< a zero in the group makes amin 0, as DeepEP's sender has it
};
inline constexpr LogFmt kLogFmt8{8, false}, kLogFmt10{10, false}, kDeepEpLogFmt10{10, true};

constexpr int64_t logfmt_row_bytes(LogFmt format, int64_t cols) {
  return (cols + 127) / 128 * (16 * format.bits + 4);
}

/// x_TC F32 or BF16, taken as BF16; finite, magnitudes below 2^-126 count as zero. packed_TB U8 [T,
/// logfmt_row_bytes(format, C)]. A code can differ from the scalar definition by one where x is
/// within 2^-17 of the boundary, relatively.
void logfmt_encode(Context& ctx, LogFmt format, ConstTensorView x_TC, TensorView packed_TB);

/// x_TC F32 or BF16, within a relative 2^-18 of the scalar definition and then rounded.
void logfmt_decode(Context& ctx, LogFmt format, ConstTensorView packed_TB, TensorView x_TC);

}  // namespace fathom::kernels
