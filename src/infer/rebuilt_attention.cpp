#include "infer/rebuilt_attention.h"

#include <algorithm>

namespace fathom {
namespace {

/// Keys and values kept at a time.
constexpr int64_t kRebuiltBytes = int64_t{64} << 20;

/// Heads [head, head + count) of rows that hold `width` values a head.
template <class View>
View heads_of(const View& x_TX, int64_t head, int64_t count, int64_t width) {
  return x_TX.col_range(head * width, count * width);
}

}  // namespace

void RebuiltAttention::forward(const CachedPass& pass, int64_t layer, const MlaProjections& p,
                               TensorView residual_TD) const {
  const Pass& of = pass.pass();
  ArenaScope scope(of.ctx.arena);
  const TensorView out_TX = of.alloc_activation(of.tokens(), shape_.heads * shape_.v_dim);
  for (const Segment& s : pass.segments())
    attend(pass, s, layer, p.q_TX.row_range(s.row, s.count), out_TX.row_range(s.row, s.count));
  linear_forward(of, w_.o_proj, out_TX, residual_TD, true);
}

void RebuiltAttention::attend(const CachedPass& pass, const Segment& segment, int64_t layer,
                              ConstTensorView q_TX, TensorView out_TX) const {
  const Pass& of = pass.pass();
  Context& ctx = of.ctx;
  ArenaScope scope(ctx.arena);
  const int64_t S = segment.end(), T = segment.count, H = shape_.heads;
  const int64_t q_width = shape_.nope_dim + shape_.rope_dim,
                kv_width = shape_.nope_dim + shape_.v_dim;
  const int64_t latent = w_.kv_b_proj.operand().cols();
  const TensorView rows_SX = of.alloc_activation(S, latent + shape_.rope_dim);
  kernels::read_latent_rows(ctx, segment.cache->view(layer, S), rows_SX);
  const auto bytes = S * kv_width * static_cast<int64_t>(size_of(of.activation_dtype()));
  const int64_t step = std::clamp<int64_t>(kRebuiltBytes / bytes, 1, H);
  const TensorView kv_SX = of.alloc_activation(S, step * kv_width);
  const TensorView lse_TH = of.alloc_f32(T, step);
  const int64_t queries[] = {0, T}, keys[] = {0, S};
  for (int64_t h = 0; h < H; h += step) {
    kernels::MlaShape shape = shape_;
    shape.heads = std::min(step, H - h);
    const TensorView kv = heads_of(kv_SX, 0, shape.heads, kv_width);
    kernels::gemm_nt(ctx, rows_SX.col_range(0, latent),
                     w_.kv_b_proj.operand().row_range(h * kv_width, shape.heads * kv_width), kv,
                     {of.precision, false});
    kernels::mla_attention_forward(ctx, shape, heads_of(q_TX, h, shape.heads, q_width), kv,
                                   rows_SX.col_range(latent, shape_.rope_dim), queries, keys,
                                   heads_of(out_TX, h, shape.heads, shape_.v_dim),
                                   lse_TH.col_range(0, shape.heads), of.precision);
  }
}

}  // namespace fathom
