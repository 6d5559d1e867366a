#include "kernels/rmsnorm.h"

#include "kernels/cpu/ops_scaled.h"

namespace fathom::kernels {
namespace {

using namespace cpu;

/// The weight in F32: itself, or a copy in the arena.
const float* weight_f32(Context& ctx, const char* kernel, const ConstTensorView& w_D, int64_t d) {
  check_shape(kernel, "w", w_D, {d});
  const Rows w = rows_of(kernel, "w", w_D);
  if (!w.bf16) return w_D.as<float>();
  float* copy = ctx.arena.alloc_array<float>(d);
  ops(ctx).row.copy(w, {copy, d, false}, d);
  return copy;
}

}  // namespace

void rmsnorm_forward(Context& ctx, ConstTensorView x_TD, ConstTensorView w_D, float eps,
                     TensorView y_TD, TensorView rstd_T) {
  rmsnorm_forward(ctx, x_TD, w_D, eps, y_TD, {}, rstd_T);
}

void rmsnorm_forward(Context& ctx, ConstTensorView x_TD, ConstTensorView w_D, float eps,
                     TensorView y_TD, const QuantizedOutput& q, TensorView rstd_T) {
  constexpr const char* kName = "rmsnorm_forward";
  const int64_t t = x_TD.rows(), d = x_TD.cols();
  check_same_device(kName, ctx, {x_TD, w_D, y_TD, q.view.codes, q.view.scale, rstd_T});
  FATHOM_ASSERT(y_TD || q);
  if (y_TD) check_shape(kName, "y", y_TD, {t, d});
  if (rstd_T) check_shape(kName, "rstd", rstd_T, {t});
  const ArenaScope scope(ctx.arena);
  const Rows x = rows_of(kName, "x", x_TD);
  const MutableRows y = y_TD ? mutable_rows_of(kName, "y", y_TD) : MutableRows{};
  const QuantizedRows to = quantized_rows_of(kName, q, t, d);
  const float* w = weight_f32(ctx, kName, w_D, d);
  float* rstd = rstd_T ? rstd_T.as<float>() : nullptr;
  for_items(ctx, t, 8 * d, [&](int64_t begin, int64_t end) {
    ops(ctx).norm.forward(at(x, begin), w, eps, at(y, begin), at(to, begin), at(rstd, begin),
                          end - begin, d);
  });
}

void rmsnorm_backward_input(Context& ctx, ConstTensorView dy_TD, ConstTensorView x_TD,
                            ConstTensorView w_D, ConstTensorView rstd_T, TensorView dx_TD,
                            bool accumulate) {
  constexpr const char* kName = "rmsnorm_backward_input";
  const int64_t t = x_TD.rows(), d = x_TD.cols();
  check_same_device(kName, ctx, {dy_TD, x_TD, w_D, rstd_T, dx_TD});
  check_shape(kName, "dy", dy_TD, {t, d});
  check_shape(kName, "dx", dx_TD, {t, d});
  check_shape(kName, "rstd", rstd_T, {t});
  if (accumulate) check_dtype(kName, "accumulated dx", dx_TD, {DType::kF32});
  const ArenaScope scope(ctx.arena);
  const Rows dy = rows_of(kName, "dy", dy_TD), x = rows_of(kName, "x", x_TD);
  const MutableRows dx = mutable_rows_of(kName, "dx", dx_TD);
  const float* w = weight_f32(ctx, kName, w_D, d);
  const float* rstd = rstd_T.as<float>();
  for_items(ctx, t, 12 * d, [&](int64_t begin, int64_t end) {
    ops(ctx).norm.backward_input(at(dy, begin), at(x, begin), w, rstd + begin, at(dx, begin),
                                 accumulate, end - begin, d);
  });
}

void rmsnorm_backward_weight(Context& ctx, ConstTensorView dy_TD, ConstTensorView x_TD,
                             ConstTensorView rstd_T, TensorView dw_D) {
  constexpr const char* kName = "rmsnorm_backward_weight";
  const int64_t t = x_TD.rows(), d = x_TD.cols();
  check_same_device(kName, ctx, {dy_TD, x_TD, rstd_T, dw_D});
  check_shape(kName, "dy", dy_TD, {t, d});
  check_shape(kName, "rstd", rstd_T, {t});
  check_shape(kName, "dw", dw_D, {d});
  const Rows dy = rows_of(kName, "dy", dy_TD), x = rows_of(kName, "x", x_TD);
  const float* rstd = rstd_T.as<float>();
  float* dw = dw_D.as<float>();
  for_columns(ctx, d, 8 * t, [&](int64_t begin, int64_t end) {
    ops(ctx).norm.backward_weight(at(dy, 0, begin), at(x, 0, begin), rstd, dw + begin, t,
                                  end - begin);
  });
}

}  // namespace fathom::kernels
