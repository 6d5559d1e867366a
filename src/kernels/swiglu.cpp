#include "kernels/swiglu.h"

#include "kernels/cpu/ops_scaled.h"

namespace fathom::kernels {

using namespace cpu;

namespace {

Source gate_up_of(const char* kernel, const GemmInput& gate_up, int64_t t, int64_t f) {
  check_shape(kernel, "gate_up", gate_up.values, {t, 2 * f});
  if (gate_up.scale) FATHOM_ASSERT(gate_up.tile == kTile1x128 && f % 16 == 0);
  return source_of(kernel, "gate_up", gate_up);
}

/// Null for an empty view.
float* vector_of(const char* kernel, const char* argument, const ConstTensorView& v, int64_t n) {
  if (!v) return nullptr;
  check_shape(kernel, argument, v, {n});
  return const_cast<float*>(v.as<float>());
}

/// An output that may be empty.
MutableRows output_of(const char* kernel, const char* argument, const TensorView& v, int64_t rows,
                      int64_t cols) {
  if (!v) return {};
  check_shape(kernel, argument, v, {rows, cols});
  return mutable_rows_of(kernel, argument, v);
}

}  // namespace

void swiglu_forward(Context& ctx, ConstTensorView gate_up_TF2, TensorView y_TF) {
  swiglu_forward(ctx, GemmInput(gate_up_TF2), {}, y_TF, {});
}

void swiglu_forward(Context& ctx, const GemmInput& gate_up_TF2, ConstTensorView weight_T,
                    TensorView y_TF, const QuantizedOutput& q) {
  constexpr const char* kName = "swiglu_forward";
  const int64_t t = gate_up_TF2.rows(), f = gate_up_TF2.cols() / 2;
  check_same_device(kName, ctx, {gate_up_TF2.values, weight_T, y_TF, q.view.codes, q.view.scale});
  const Source x = gate_up_of(kName, gate_up_TF2, t, f);
  const float* weight = vector_of(kName, "weight", weight_T, t);
  const MutableRows y = output_of(kName, "y", y_TF, t, f);
  const QuantizedRows to = quantized_rows_of(kName, q, t, f);
  FATHOM_ASSERT(y.data || to.codes.codes);
  for_items(ctx, t, 12 * f, [&](int64_t begin, int64_t end) {
    ops(ctx).activation.swiglu_forward(at(x, begin), at(weight, begin), at(y, begin), at(to, begin),
                                       end - begin, f);
  });
}

void swiglu_backward(Context& ctx, ConstTensorView gate_up_TF2, ConstTensorView dy_TF,
                     TensorView dgate_up_TF2) {
  swiglu_backward(ctx, GemmInput(gate_up_TF2), {}, dy_TF, {dgate_up_TF2, {}, {}, {}});
}

void swiglu_backward(Context& ctx, const GemmInput& gate_up_TF2, ConstTensorView weight_T,
                     ConstTensorView dy_TF, const SwigluGradients& out) {
  constexpr const char* kName = "swiglu_backward";
  const int64_t t = dy_TF.rows(), f = dy_TF.cols();
  const QuantizedView& q = out.dgate_up_quantized.view;
  check_same_device(kName, ctx,
                    {gate_up_TF2.values, weight_T, dy_TF, out.dgate_up_TF2, q.codes, q.scale,
                     out.act_TF, out.dweight_T});
  const Source x = gate_up_of(kName, gate_up_TF2, t, f);
  const Rows dy = rows_of(kName, "dy", dy_TF);
  const float* weight = vector_of(kName, "weight", weight_T, t);
  float* dweight = vector_of(kName, "dweight", out.dweight_T, t);
  const MutableRows dx = output_of(kName, "dgate_up", out.dgate_up_TF2, t, 2 * f);
  const MutableRows act = output_of(kName, "act", out.act_TF, t, f);
  const QuantizedRows to = quantized_rows_of(kName, out.dgate_up_quantized, t, 2 * f);
  FATHOM_ASSERT(dx.data || to.codes.codes);
  const ArenaScope scope(ctx.arena);
  float* scratch = to.codes.codes ? ctx.arena.alloc_array<float>(ctx.pool.size() * 2 * f) : nullptr;
  ctx.pool.for_range(t, grain_of(20 * f), [&](int64_t begin, int64_t end, int thread) {
    const SwigluGradientRows rows = {at(dx, begin), at(to, begin), at(act, begin),
                                     at(dweight, begin), at(scratch, thread * 2 * f)};
    ops(ctx).activation.swiglu_backward(at(x, begin), at(weight, begin), at(dy, begin), rows,
                                        end - begin, f);
  });
}

}  // namespace fathom::kernels
