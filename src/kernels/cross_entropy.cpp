#include "kernels/cross_entropy.h"

#include "kernels/cpu/ops_common.h"

namespace fathom::kernels {
namespace {

using namespace cpu;

/// A chunk streams W and dW through memory, which its products must outweigh: at least so many
/// tokens (measured: 256 cost 10%, 1024 gain 3%), more while the logits stay small.
constexpr int64_t kMinChunk = 512, kLogitBytes = 32 << 20;

int64_t chunk_size(int64_t tokens, int64_t vocab) {
  const int64_t fitting = kLogitBytes / (vocab * static_cast<int64_t>(sizeof(float)));
  return std::min(tokens, std::max(kMinChunk, fitting));
}

struct HeadLoss {
  Context& ctx;
  ConstTensorView h_TD;
  GemmInput w_VD;
  std::span<const int32_t> target_T;
  float* loss;
  GemmPrecision precision;

  int64_t tokens() const { return h_TD.rows(); }
  int64_t vocab() const { return w_VD.rows(); }
  GemmOptions gemm(bool accumulate = false) const { return {precision, accumulate}; }

  /// row(logits, target, token) for each token of a chunk whose logits were just computed.
  template <class Row>
  void chunk(int64_t begin, const TensorView& logits, Row row) const {
    gemm_nt(ctx, h_TD.row_range(begin, logits.rows()), w_VD, logits, gemm());
    for_items(ctx, logits.rows(), 12 * vocab(), [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i)
        loss[begin + i] = row(logits.as<float>() + i * vocab(), target_T[begin + i]);
    });
  }

  double total() const {
    double sum = 0;
    for (int64_t i = 0; i < tokens(); ++i) sum += loss[i];
    return sum;
  }
};

HeadLoss checked(Context& ctx, const char* kernel, const ConstTensorView& h_TD,
                 const GemmInput& w_VD, std::span<const int32_t> target_T, const TensorView& loss_T,
                 GemmPrecision precision) {
  const int64_t t = h_TD.rows(), v = w_VD.rows();
  check_same_device(kernel, ctx, {h_TD, w_VD.values, loss_T});
  check_shape(kernel, "h", h_TD, {t, w_VD.cols()});
  if (loss_T) check_shape(kernel, "loss", loss_T, {t});
  FATHOM_ASSERT(static_cast<int64_t>(target_T.size()) == t);
  for (const int32_t y : target_T) FATHOM_ASSERT(y == kIgnoreTarget || (y >= 0 && y < v));
  float* loss = loss_T ? loss_T.as<float>() : ctx.arena.alloc_array<float>(t);
  return {ctx, h_TD, w_VD, target_T, loss, precision};
}

}  // namespace

double head_loss_forward(Context& ctx, ConstTensorView h_TD, const GemmInput& w_VD,
                         std::span<const int32_t> target_T, TensorView loss_T,
                         GemmPrecision precision) {
  const ArenaScope scope(ctx.arena);
  const HeadLoss head = checked(ctx, "head_loss_forward", h_TD, w_VD, target_T, loss_T, precision);
  const int64_t t = head.tokens(), v = head.vocab(), chunk = chunk_size(t, v);
  const TensorView logits = ctx.arena.alloc(DType::kF32, {chunk, v});
  for (int64_t begin = 0; begin < t; begin += chunk)
    head.chunk(begin, logits.row_range(0, std::min(chunk, t - begin)),
               [&](const float* row, int32_t target) {
                 return target == kIgnoreTarget ? 0 : ops(ctx).loss.forward(row, v, target);
               });
  return head.total();
}

double head_loss_forward_backward(Context& ctx, ConstTensorView h_TD, const GemmInput& w_VD,
                                  std::span<const int32_t> target_T, float scale, TensorView loss_T,
                                  TensorView dh_TD, TensorView dw_VD, GemmPrecision precision) {
  constexpr const char* kName = "head_loss_forward_backward";
  const ArenaScope scope(ctx.arena);
  const HeadLoss head = checked(ctx, kName, h_TD, w_VD, target_T, loss_T, precision);
  const int64_t t = head.tokens(), v = head.vocab(), chunk = chunk_size(t, v);
  check_same_device(kName, ctx, {dh_TD, dw_VD});
  check_shape(kName, "dh", dh_TD, {t, h_TD.cols()});
  check_shape(kName, "dw", dw_VD, {v, h_TD.cols()});
  const bool bf16 = precision == GemmPrecision::kBF16;
  const TensorView logits = ctx.arena.alloc(DType::kF32, {chunk, v});
  // The gradients take the place of the logits; as BF16 they fill the first half of each row.
  TensorView dlogits = logits;
  if (bf16) dlogits.dtype = DType::kBF16, dlogits.stride[0] = 2 * v;
  for (int64_t begin = 0; begin < t; begin += chunk) {
    const int64_t n = std::min(chunk, t - begin);
    head.chunk(begin, logits.row_range(0, n), [&](float* row, int32_t target) {
      if (target != kIgnoreTarget)
        return ops(ctx).loss.forward_backward(row, v, target, scale, bf16);
      std::fill_n(row, v, 0.0f);
      return 0.0f;
    });
    const ConstTensorView d = dlogits.row_range(0, n);
    gemm_nn(ctx, d, w_VD, dh_TD.row_range(begin, n), head.gemm());
    gemm_tn(ctx, d, h_TD.row_range(begin, n), dw_VD, head.gemm(true));
  }
  return head.total();
}

}  // namespace fathom::kernels
