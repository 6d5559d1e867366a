#include "kernels/embedding.h"

#include "kernels/cpu/ops_common.h"
#include "kernels/stored_weights.h"

namespace fathom::kernels {
namespace {

using namespace cpu;

void check_tokens(std::span<const int32_t> token_T, int64_t t, int64_t vocab) {
  FATHOM_ASSERT(static_cast<int64_t>(token_T.size()) == t);
  for (const int32_t token : token_T) FATHOM_ASSERT(token >= 0 && token < vocab);
}

}  // namespace

void embedding_forward(Context& ctx, const GemmInput& w_VD, std::span<const int32_t> token_T,
                       TensorView out_TD) {
  constexpr const char* kName = "embedding_forward";
  const int64_t t = out_TD.rows(), d = w_VD.cols();
  check_same_device(kName, ctx, {w_VD.values, out_TD});
  check_shape(kName, "out", out_TD, {t, d});
  check_tokens(token_T, t, w_VD.rows());
  if (w_VD.format != StorageFormat::kF32 && w_VD.format != StorageFormat::kBF16) {
    for (int64_t i = 0; i < t; ++i)
      decode_weights(ctx, w_VD.row_range(token_T[i], 1), out_TD.row_range(i, 1));
    return;
  }
  const Rows w = rows_of(kName, "w", w_VD.values);
  const MutableRows out = mutable_rows_of(kName, "out", out_TD);
  for_items(ctx, t, 8 * d, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ops(ctx).row.copy(at(w, token_T[i]), at(out, i), d);
  });
}

void embedding_backward(Context& ctx, ConstTensorView dout_TD, std::span<const int32_t> token_T,
                        TensorView dw_VD) {
  constexpr const char* kName = "embedding_backward";
  const int64_t t = dout_TD.rows(), d = dw_VD.cols();
  check_same_device(kName, ctx, {dout_TD, dw_VD});
  check_shape(kName, "dout", dout_TD, {t, d});
  check_tokens(token_T, t, dw_VD.rows());
  const Rows dout = rows_of(kName, "dout", dout_TD);
  const auto dw = dw_VD.matrix<float>();
  for_columns(ctx, d, 12 * t, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < t; ++i)
      ops(ctx).row.add_scaled(at(dout, i, begin), 1, dw.row(token_T[i]) + begin, end - begin);
  });
}

}  // namespace fathom::kernels
