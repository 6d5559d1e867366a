#include "kernels/swiglu.h"

#include "kernels/cpu/ops_common.h"

namespace fathom::kernels {

using namespace cpu;

void swiglu_forward(Context& ctx, ConstTensorView gate_up_TF2, TensorView y_TF) {
  constexpr const char* kName = "swiglu_forward";
  const int64_t t = y_TF.rows(), f = y_TF.cols();
  check_same_device(kName, ctx, {gate_up_TF2, y_TF});
  check_shape(kName, "gate_up", gate_up_TF2, {t, 2 * f});
  const Rows x = rows_of(kName, "gate_up", gate_up_TF2);
  const MutableRows y = mutable_rows_of(kName, "y", y_TF);
  for_items(ctx, t, 12 * f, [&](int64_t begin, int64_t end) {
    ops(ctx).activation.swiglu_forward(at(x, begin), at(y, begin), end - begin, f);
  });
}

void swiglu_backward(Context& ctx, ConstTensorView gate_up_TF2, ConstTensorView dy_TF,
                     TensorView dgate_up_TF2) {
  constexpr const char* kName = "swiglu_backward";
  const int64_t t = dy_TF.rows(), f = dy_TF.cols();
  check_same_device(kName, ctx, {gate_up_TF2, dy_TF, dgate_up_TF2});
  check_shape(kName, "gate_up", gate_up_TF2, {t, 2 * f});
  check_shape(kName, "dgate_up", dgate_up_TF2, {t, 2 * f});
  const Rows x = rows_of(kName, "gate_up", gate_up_TF2), dy = rows_of(kName, "dy", dy_TF);
  const MutableRows dx = mutable_rows_of(kName, "dgate_up", dgate_up_TF2);
  for_items(ctx, t, 20 * f, [&](int64_t begin, int64_t end) {
    ops(ctx).activation.swiglu_backward(at(x, begin), at(dy, begin), at(dx, begin), end - begin, f);
  });
}

}  // namespace fathom::kernels
