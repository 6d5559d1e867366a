#include "kernels/logfmt.h"

#include "kernels/cpu/ops_common.h"

namespace fathom::kernels {
namespace {

using namespace cpu;

void check_packed(const char* kernel, LogFmt format, const ConstTensorView& x_TC,
                  const ConstTensorView& packed_TB) {
  FATHOM_ASSERT(format.bits == 8 || format.bits == 10);
  check_shape(kernel, "packed", packed_TB, {x_TC.rows(), logfmt_row_bytes(format, x_TC.cols())});
  FATHOM_ASSERT(packed_TB.contiguous());
}

}  // namespace

void logfmt_encode(Context& ctx, LogFmt format, ConstTensorView x_TC, TensorView packed_TB) {
  constexpr const char* kName = "logfmt_encode";
  check_same_device(kName, ctx, {x_TC, packed_TB});
  check_packed(kName, format, x_TC, packed_TB);
  const Rows x = rows_of(kName, "x", x_TC);
  auto* packed = packed_TB.as<uint8_t>();
  const int64_t c = x_TC.cols(), bytes = logfmt_row_bytes(format, c);
  for_items(ctx, x_TC.rows(), 6 * c, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      ops(ctx).pack.logfmt_encode(format.bits, format.zeros_in_amin, at(x, r), packed + r * bytes,
                                  c);
  });
}

void logfmt_decode(Context& ctx, LogFmt format, ConstTensorView packed_TB, TensorView x_TC) {
  constexpr const char* kName = "logfmt_decode";
  check_same_device(kName, ctx, {x_TC, packed_TB});
  check_packed(kName, format, x_TC, packed_TB);
  const MutableRows x = mutable_rows_of(kName, "x", x_TC);
  const auto* packed = packed_TB.as<uint8_t>();
  const int64_t c = x_TC.cols(), bytes = logfmt_row_bytes(format, c);
  for_items(ctx, x_TC.rows(), 6 * c, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      ops(ctx).pack.logfmt_decode(format.bits, packed + r * bytes, at(x, r), c);
  });
}

}  // namespace fathom::kernels
