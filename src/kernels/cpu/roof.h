#pragma once

#include "base/context.h"
#include "kernels/gemm.h"

namespace fathom::kernels {

/// The roofs that rates are divided by, measured on the threads of the context. Measure in the same
/// run as what is compared: machines shared with others are not steady.

/// FLOP/s of the multiply-add of a precision's GEMM kernel from registers (AMX: 2 x 2 tiles from
/// L1), every thread at once; the best of several bursts over about 50 ms.
double measure_peak_flops(Context& ctx, GemmPrecision precision);

/// Reads memory at the rate that memory gives: each of several ways (one or more streams a thread,
/// with and without software prefetch) over 512 MiB of huge pages, which it keeps, as processors
/// differ in which is fastest.
class ReadBandwidth {
 public:
  explicit ReadBandwidth(Context& ctx);
  /// Bytes/s on the threads of ctx in the fastest way: the upper quartile over 64 MiB at a time, so
  /// that neither preemption nor a lucky moment counts. 0.1 to 0.3 s.
  double measure(Context& ctx) const;

 private:
  Tensor buffer_;
};

/// The same for a single figure.
double measure_read_bandwidth(Context& ctx);

}  // namespace fathom::kernels
