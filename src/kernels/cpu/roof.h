#pragma once

#include "base/context.h"
#include "kernels/gemm.h"

namespace fathom::kernels {

/// The roofs that rates are divided by, measured on the threads of the context. Measure in the same
/// run as what is compared: machines shared with others are not steady.

/// FLOP/s of the multiply-add of a precision's GEMM kernel from registers (AMX: 2 x 2 tiles from
/// L1), every thread at once; the best of several bursts over about 50 ms.
double measure_peak_flops(Context& ctx, GemmPrecision precision);

/// Bytes/s of reading memory once, four prefetched streams a thread; the best of a few passes over
/// 512 MiB, which it allocates. About a quarter of a second.
double measure_read_bandwidth(Context& ctx);

}  // namespace fathom::kernels
