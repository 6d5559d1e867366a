#include "kernels/e5m6.h"

#include "kernels/cpu/ops_common.h"

namespace fathom::kernels {
namespace {

using namespace cpu;

void check_packed(const char* kernel, const ConstTensorView& x_TC, const ConstTensorView& packed_TB,
                  const ConstTensorView& scale_TG) {
  const int64_t t = x_TC.rows(), c = x_TC.cols();
  check_shape(kernel, "packed", packed_TB, {t, e5m6_row_bytes(c)});
  check_shape(kernel, "scale", scale_TG, {t, e5m6_row_scales(c)});
  FATHOM_ASSERT(packed_TB.contiguous() && scale_TG.contiguous());
}

}  // namespace

void e5m6_pack(Context& ctx, ConstTensorView x_TC, TensorView packed_TB, TensorView scale_TG) {
  constexpr const char* kName = "e5m6_pack";
  check_same_device(kName, ctx, {x_TC, packed_TB, scale_TG});
  check_packed(kName, x_TC, packed_TB, scale_TG);
  const Rows x = rows_of(kName, "x", x_TC);
  auto* packed = packed_TB.as<uint8_t>();
  auto* scale = scale_TG.as<uint8_t>();
  const int64_t c = x_TC.cols();
  for_items(ctx, x_TC.rows(), 6 * c, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      ops(ctx).pack.e5m6_pack(at(x, r), packed + r * e5m6_row_bytes(c),
                              scale + r * e5m6_row_scales(c), c);
  });
}

void e5m6_unpack(Context& ctx, ConstTensorView packed_TB, ConstTensorView scale_TG,
                 TensorView x_TC) {
  constexpr const char* kName = "e5m6_unpack";
  check_same_device(kName, ctx, {x_TC, packed_TB, scale_TG});
  check_packed(kName, x_TC, packed_TB, scale_TG);
  const MutableRows x = mutable_rows_of(kName, "x", x_TC);
  const auto* packed = packed_TB.as<uint8_t>();
  const auto* scale = scale_TG.as<uint8_t>();
  const int64_t c = x_TC.cols();
  for_items(ctx, x_TC.rows(), 6 * c, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      ops(ctx).pack.e5m6_unpack(packed + r * e5m6_row_bytes(c), scale + r * e5m6_row_scales(c),
                                at(x, r), c);
  });
}

}  // namespace fathom::kernels
