#include "kernels/rope.h"

#include "kernels/cpu/ops_common.h"

namespace fathom::kernels {

using namespace cpu;

void rope(Context& ctx, TensorView x_THR, std::span<const int32_t> position_T,
          ConstTensorView cos_PI, ConstTensorView sin_PI, bool inverse) {
  constexpr const char* kName = "rope";
  check_same_device(kName, ctx, {x_THR, cos_PI, sin_PI});
  check_dtype(kName, "x", x_THR, {DType::kF32, DType::kBF16});
  FATHOM_ASSERT(x_THR.rank == 3 && x_THR.stride[2] == 1);
  const int64_t t = x_THR.shape[0], h = x_THR.shape[1], r = x_THR.shape[2];
  FATHOM_ASSERT(r % 2 == 0 && static_cast<int64_t>(position_T.size()) == t);
  check_shape(kName, "cos", cos_PI, {cos_PI.rows(), r / 2});
  check_shape(kName, "sin", sin_PI, {cos_PI.rows(), r / 2});
  const auto cos = cos_PI.matrix<float>(), sin = sin_PI.matrix<float>();
  const MutableRows tokens = {x_THR.data, x_THR.stride[0], x_THR.dtype == DType::kBF16};
  for_items(ctx, t, 8 * h * r, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t p = position_T[i];
      FATHOM_ASSERT(p >= 0 && p < cos.rows);
      const MutableRows heads = {at(tokens, i).data, x_THR.stride[1], tokens.bf16};
      ops(ctx).activation.rope(heads, h, r, cos.row(p), sin.row(p), inverse);
    }
  });
}

}  // namespace fathom::kernels
