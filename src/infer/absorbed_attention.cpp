#include "infer/absorbed_attention.h"

#include "kernels/elementwise.h"
#include "kernels/stored_weights.h"

namespace fathom {
namespace {

Tensor identity(int64_t n) {
  Tensor eye_NN(DType::kF32, {n, n});
  for (int64_t i = 0; i < n; ++i) eye_NN.as<float>()[i * n + i] = 1;
  return eye_NN;
}

/// Rows stored head after head, [H·T, X], seen as [T, H, X].
TensorView token_view(const TensorView& x_YX, int64_t tokens, int64_t heads) {
  TensorView x_THX = x_YX.reshape({heads, tokens, x_YX.cols()});
  std::swap(x_THX.shape[0], x_THX.shape[1]);
  std::swap(x_THX.stride[0], x_THX.stride[1]);
  return x_THX;
}

/// Entry i of dimension d of a rank-3 view, as a matrix.
template <class View>
View plane(const View& x, int d, int64_t i) {
  View p = x.slice(d, i, 1);
  p.rank = 2;
  p.shape = {x.shape[1 - d], x.shape[2]};
  p.stride = {x.stride[1 - d], x.stride[2]};
  return p;
}

/// y = x for [T, H, X] views of any token and head stride: between the order of the projections
/// (token, head) and that of products by head (head, token).
void copy_heads(Context& ctx, const ConstTensorView& x_THX, const TensorView& y_THX) {
  const int d = x_THX.shape[0] <= x_THX.shape[1] ? 0 : 1;
  for (int64_t i = 0; i < x_THX.shape[d]; ++i)
    kernels::copy(ctx, plane(x_THX, d, i), plane(y_THX, d, i));
}

std::vector<int64_t> equal_groups(int64_t groups, int64_t rows) {
  std::vector<int64_t> offsets;
  for (int64_t g = 0; g <= groups; ++g) offsets.push_back(g * rows);
  return offsets;
}

}  // namespace

AbsorbedAttention::AbsorbedAttention(Context& ctx, const MlaWeights& weights,
                                     const kernels::MlaShape& shape)
    : w_(weights), shape_(shape) {
  if (weights.absorbed_key.values)
    use_stored(weights.absorbed_key, weights.absorbed_value);
  else
    derive(ctx, weights.kv_b_proj.operand());
}

void AbsorbedAttention::derive(Context& ctx, const kernels::GemmInput& kv_b_XC) {
  const int64_t latent = kv_b_XC.cols(), heads = shape_.heads, nope = shape_.nope_dim;
  const bool f32 = kv_b_XC.values.dtype == DType::kF32;
  w_uk_XN_ = Tensor(f32 ? DType::kF32 : DType::kBF16, {heads * latent, nope});
  const Tensor eye_NN = identity(nope);
  const Tensor w_uk_NC(DType::kF32, {nope, latent});
  for (int64_t h = 0; h < heads; ++h) {
    const int64_t row = h * (nope + shape_.v_dim);
    const TensorView w_uk_CN = w_uk_XN_.view().row_range(h * latent, latent);
    // A product with the identity is an exact transposition.
    kernels::decode_weights(ctx, kv_b_XC.row_range(row, nope), w_uk_NC);
    kernels::gemm_tn(ctx, w_uk_NC, eye_NN, w_uk_CN, {kernels::GemmPrecision::kF32, false});
    w_uk_H_.push_back(w_uk_CN);
    w_uv_H_.push_back(kv_b_XC.row_range(row + nope, shape_.v_dim));
  }
}

void AbsorbedAttention::use_stored(const kernels::GemmInput& key_XN,
                                   const kernels::GemmInput& value_XC) {
  const int64_t latent = value_XC.cols();
  for (int64_t h = 0; h < shape_.heads; ++h) {
    w_uk_H_.push_back(key_XN.row_range(h * latent, latent));
    w_uv_H_.push_back(value_XC.row_range(h * shape_.v_dim, shape_.v_dim));
  }
}

void AbsorbedAttention::forward(const CachedPass& cached, int64_t layer, const MlaProjections& p,
                                TensorView residual_TD) const {
  const Pass& pass = cached.pass();
  ArenaScope scope(pass.ctx.arena);
  const int64_t tokens = pass.tokens(), heads = shape_.heads;
  const auto offsets = equal_groups(heads, tokens);
  const TensorView latent_YC = attend(cached, layer, p);
  const TensorView out_YV = pass.alloc_activation(heads * tokens, shape_.v_dim);
  kernels::grouped_gemm_nt(pass.ctx, latent_YC, w_uv_H_, out_YV, offsets, {pass.precision, false});
  TensorView out_TX = out_YV.reshape({tokens * heads, shape_.v_dim});
  if (tokens > 1) {
    out_TX = pass.alloc_activation(tokens, heads * shape_.v_dim);
    copy_heads(pass.ctx, token_view(out_YV, tokens, heads),
               out_TX.reshape({tokens, heads, shape_.v_dim}));
  }
  linear_forward(pass, w_.o_proj, out_TX.reshape({tokens, heads * shape_.v_dim}), residual_TD,
                 true);
}

/// õ, F32 [H·T, C], head after head.
TensorView AbsorbedAttention::attend(const CachedPass& cached, int64_t layer,
                                     const MlaProjections& p) const {
  const Pass& pass = cached.pass();
  Context& ctx = pass.ctx;
  const int64_t tokens = pass.tokens(), heads = shape_.heads;
  const int64_t latent = w_.kv_b_proj.operand().cols();
  const TensorView out_YC = pass.alloc_f32(heads * tokens, latent);
  ArenaScope scope(ctx.arena);
  const TensorView q_THX = p.q_TX.reshape({tokens, heads, shape_.nope_dim + shape_.rope_dim});
  const TensorView q_nope_YN = pass.alloc_activation(heads * tokens, shape_.nope_dim);
  const TensorView q_rope_THR = ctx.arena.alloc(DType::kF32, {tokens, heads, shape_.rope_dim});
  const TensorView q_latent_YC = pass.alloc_f32(heads * tokens, latent);
  copy_heads(ctx, q_THX.col_range(0, shape_.nope_dim), token_view(q_nope_YN, tokens, heads));
  copy_heads(ctx, q_THX.col_range(shape_.nope_dim, shape_.rope_dim), q_rope_THR);
  kernels::grouped_gemm_nt(ctx, q_nope_YN, w_uk_H_, q_latent_YC, equal_groups(heads, tokens),
                           {pass.precision, false});
  const TensorView q_latent_THC = token_view(q_latent_YC, tokens, heads);
  const TensorView out_THC = token_view(out_YC, tokens, heads);
  std::vector<kernels::AbsorbedQueries> queries;
  for (const Segment& s : cached.segments())
    queries.push_back(
        {q_latent_THC.row_range(s.row, s.count), q_rope_THR.row_range(s.row, s.count),
         s.cache->view(layer, s.end()),
         pass.position_T.subspan(static_cast<size_t>(s.row), static_cast<size_t>(s.count)),
         out_THC.row_range(s.row, s.count)});
  kernels::mla_absorbed_decode(ctx, queries, shape_.scale);
  return out_YC;
}

}  // namespace fathom
