#include "model/mla.h"

#include "kernels/rope.h"

namespace fathom {
namespace {

// The norms of the two latents keep this eps whatever rms_norm_eps is, as in every released
// implementation of the architecture.
constexpr float kLatentNormEps = 1e-6f;

}  // namespace

kernels::MlaShape Mla::shape() const {
  return {config_.num_attention_heads, config_.qk_nope_head_dim, config_.qk_rope_head_dim,
          config_.v_head_dim, config_.softmax_scale()};
}

void Mla::rotate(const Pass& pass, TensorView q_TX, TensorView k_rope_TR, bool inverse) const {
  const int64_t tokens = pass.tokens(), heads = config_.num_attention_heads;
  const TensorView q_rope_THR = q_TX.reshape({tokens, heads, config_.qk_head_dim()})
                                    .col_range(config_.qk_nope_head_dim, config_.qk_rope_head_dim);
  TensorView k_T1R = k_rope_TR;
  k_T1R.rank = 3;
  k_T1R.shape = {tokens, 1, config_.qk_rope_head_dim};
  k_T1R.stride = {k_rope_TR.stride[0], config_.qk_rope_head_dim, 1};
  kernels::rope(pass.ctx, q_rope_THR, pass.position_T, rope_.cos_PI, rope_.sin_PI, inverse);
  kernels::rope(pass.ctx, k_T1R, pass.position_T, rope_.cos_PI, rope_.sin_PI, inverse);
}

MlaProjections Mla::project(const Pass& pass, ConstTensorView x_TD) const {
  const int64_t tokens = pass.tokens(), latent = config_.kv_lora_rank;
  MlaProjections p;
  const bool has_q_latent = config_.q_lora_rank > 0;
  p.q_TX = pass.alloc_activation(tokens, config_.num_attention_heads * config_.qk_head_dim());
  if (has_q_latent) p.q_a_TQ = pass.alloc_activation(tokens, config_.q_lora_rank);
  p.kv_a_TX = pass.alloc_activation(tokens, config_.cache_width());
  const kernels::GemmNT of_x[] = {{x_TD, w_.kv_a_proj_with_mqa.operand(), p.kv_a_TX},
                                  {x_TD, has_q_latent ? w_.q_a_proj.operand() : w_.q_proj.operand(),
                                   has_q_latent ? p.q_a_TQ : p.q_TX}};
  kernels::batch_gemm_nt(pass.ctx, of_x, {pass.precision, false});
  if (has_q_latent) {
    p.q_a_normed_TQ = pass.alloc_activation(tokens, config_.q_lora_rank);
    p.q_norm = norm_forward(pass, w_.q_a_layernorm, kLatentNormEps, p.q_a_TQ, p.q_a_normed_TQ);
    linear_forward(pass, w_.q_b_proj, p.q_a_normed_TQ, p.q_TX);
  }
  p.latent_TC = pass.alloc_activation(tokens, latent);
  p.latent_norm = norm_forward(pass, w_.kv_a_layernorm, kLatentNormEps,
                               p.kv_a_TX.col_range(0, latent), p.latent_TC);
  rotate(pass, p.q_TX, p.kv_a_TX.col_range(latent, config_.qk_rope_head_dim), false);
  return p;
}

MlaSaved Mla::forward(const Pass& pass, ConstTensorView x_TD, TensorView residual_TD) const {
  const int64_t tokens = pass.tokens(), heads = config_.num_attention_heads;
  MlaSaved saved{x_TD, project(pass, x_TD), {}, {}, {}};
  const MlaProjections& p = saved.proj;
  saved.kv_TX =
      pass.alloc_activation(tokens, heads * (config_.qk_nope_head_dim + config_.v_head_dim));
  linear_forward(pass, w_.kv_b_proj, p.latent_TC, saved.kv_TX);
  saved.out_TX = pass.alloc_activation(tokens, heads * config_.v_head_dim);
  saved.lse_TH = pass.alloc_f32(tokens, heads);
  kernels::mla_attention_forward(
      pass.ctx, shape(), p.q_TX, saved.kv_TX,
      p.kv_a_TX.col_range(config_.kv_lora_rank, config_.qk_rope_head_dim), pass.sequence_offsets,
      saved.out_TX, saved.lse_TH, pass.precision);
  linear_forward(pass, w_.o_proj, saved.out_TX, residual_TD, true);
  return saved;
}

MlaGradients Mla::backward_input(const Pass& pass, const MlaSaved& saved, ConstTensorView dy_TD,
                                 TensorView dx_TD) const {
  const int64_t tokens = pass.tokens(), latent = config_.kv_lora_rank;
  const int64_t rope_dim = config_.qk_rope_head_dim;
  const MlaProjections& p = saved.proj;
  MlaGradients g;
  g.dy_TD = dy_TD;
  g.dq_TX = pass.alloc_activation(tokens, p.q_TX.cols());
  g.dkv_TX = pass.alloc_activation(tokens, saved.kv_TX.cols());
  g.dkv_a_TX = pass.alloc_activation(tokens, config_.cache_width());
  g.dlatent_TC = pass.alloc_activation(tokens, latent);
  {
    const TensorView dk_rope_TR = g.dkv_a_TX.col_range(latent, rope_dim);
    ArenaScope scope(pass.ctx.arena);
    const TensorView dout_TX = pass.alloc_activation(tokens, saved.out_TX.cols());
    linear_backward_input(pass, w_.o_proj, dy_TD, dout_TX);
    kernels::mla_attention_backward(pass.ctx, shape(), p.q_TX, saved.kv_TX,
                                    p.kv_a_TX.col_range(latent, rope_dim), pass.sequence_offsets,
                                    saved.out_TX, saved.lse_TH, dout_TX, g.dq_TX, g.dkv_TX,
                                    dk_rope_TR, pass.precision);
    rotate(pass, g.dq_TX, dk_rope_TR, true);
  }
  linear_backward_input(pass, w_.kv_b_proj, g.dkv_TX, g.dlatent_TC);
  norm_backward_input(pass, w_.kv_a_layernorm, p.latent_norm, g.dlatent_TC,
                      g.dkv_a_TX.col_range(0, latent), false);
  linear_backward_input(pass, w_.kv_a_proj_with_mqa, g.dkv_a_TX, dx_TD);
  if (config_.q_lora_rank > 0) {
    g.dq_a_normed_TQ = pass.alloc_activation(tokens, config_.q_lora_rank);
    g.dq_a_TQ = pass.alloc_activation(tokens, config_.q_lora_rank);
    linear_backward_input(pass, w_.q_b_proj, g.dq_TX, g.dq_a_normed_TQ);
    norm_backward_input(pass, w_.q_a_layernorm, p.q_norm, g.dq_a_normed_TQ, g.dq_a_TQ, false);
    linear_backward_input(pass, w_.q_a_proj, g.dq_a_TQ, dx_TD, true);
  } else {
    linear_backward_input(pass, w_.q_proj, g.dq_TX, dx_TD, true);
  }
  return g;
}

void Mla::backward_weight(const Pass& pass, const MlaSaved& saved, const MlaGradients& g) const {
  const MlaProjections& p = saved.proj;
  linear_backward_weight(pass, w_.o_proj, g.dy_TD, saved.out_TX);
  linear_backward_weight(pass, w_.kv_b_proj, g.dkv_TX, p.latent_TC);
  norm_backward_weight(pass, w_.kv_a_layernorm, p.latent_norm, g.dlatent_TC);
  linear_backward_weight(pass, w_.kv_a_proj_with_mqa, g.dkv_a_TX, saved.x_TD);
  if (config_.q_lora_rank > 0) {
    linear_backward_weight(pass, w_.q_b_proj, g.dq_TX, p.q_a_normed_TQ);
    norm_backward_weight(pass, w_.q_a_layernorm, p.q_norm, g.dq_a_normed_TQ);
    linear_backward_weight(pass, w_.q_a_proj, g.dq_a_TQ, saved.x_TD);
  } else {
    linear_backward_weight(pass, w_.q_proj, g.dq_TX, saved.x_TD);
  }
}

}  // namespace fathom
