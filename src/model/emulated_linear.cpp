#include "model/emulated_linear.h"

#include "kernels/elementwise.h"
#include "model/fp8_recipe.h"

namespace fathom {
namespace {

using kernels::ConstQuantizedView;
using kernels::GemmInput;

ConstQuantizedView view_of(const GemmInput& x) {
  return {x.values, x.scale, x.tile, x.first_row};
}

template <class T>
void transpose(Context& ctx, const T* x, int64_t rows, int64_t cols, int64_t stride, T* y) {
  ctx.pool.for_each(cols, [&](int64_t c, int) {
    for (int64_t r = 0; r < rows; ++r) y[c * rows + r] = x[r * stride + c];
  });
}

}  // namespace

void emulated_nt(const Pass& pass, const GemmInput& a_MK, const GemmInput& b_NK, TensorView c_MN,
                 bool accumulate) {
  ArenaScope scope(pass.ctx.arena);
  const bool direct = !accumulate && c_MN.dtype == DType::kF32;
  const TensorView sum_MN = direct ? c_MN : pass.alloc_f32(c_MN.rows(), c_MN.cols());
  kernels::emulated_gemm(pass.ctx, view_of(a_MK), view_of(b_NK), sum_MN, *pass.fp8->accumulator);
  if (accumulate)
    kernels::add_scaled(pass.ctx, 1, sum_MN, c_MN);
  else if (!direct)
    kernels::copy(pass.ctx, sum_MN, c_MN);
}

void emulated_nn(const Pass& pass, const GemmInput& a_MN, const GemmInput& b_NK, TensorView c_MK,
                 bool accumulate) {
  ArenaScope scope(pass.ctx.arena);
  Context& ctx = pass.ctx;
  FATHOM_ASSERT(b_NK.tile == kernels::kBlock128x128 && b_NK.first_row == 0);
  const int64_t n = b_NK.rows(), k = b_NK.cols();
  const TensorView codes_KN = ctx.arena.alloc(DType::kE4M3, {k, n});
  const TensorView scale = pass.alloc_f32(b_NK.scale.cols(), b_NK.scale.rows());
  transpose(ctx, static_cast<const uint8_t*>(b_NK.values.data), n, k, b_NK.values.stride[0],
            static_cast<uint8_t*>(codes_KN.data));
  transpose(ctx, b_NK.scale.as<float>(), b_NK.scale.rows(), b_NK.scale.cols(), b_NK.scale.stride[0],
            scale.as<float>());
  emulated_nt(pass, a_MN, ConstQuantizedView(codes_KN, scale, kernels::kBlock128x128), c_MK,
              accumulate);
}

GemmInput transposed_codes(const Pass& pass, const GemmInput& x_TK, kernels::ScaleFormat format) {
  const int64_t t = x_TK.rows(), k = x_TK.cols();
  Context& ctx = pass.ctx;
  const kernels::QuantizedView q = pass.alloc_e4m3(k, t);
  ArenaScope scope(ctx.arena);
  const TensorView plain_TK = pass.alloc_f32(t, k), turned_KT = pass.alloc_f32(k, t);
  if (x_TK.scale)
    kernels::dequantize(ctx, view_of(x_TK), plain_TK);
  else
    kernels::copy(ctx, x_TK.values, plain_TK);
  transpose(ctx, plain_TK.as<float>(), t, k, k, turned_KT.as<float>());
  kernels::quantize(ctx, turned_KT, q, format);
  return q;
}

}  // namespace fathom
