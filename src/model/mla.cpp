#include "model/mla.h"

#include "kernels/e5m6.h"
#include "kernels/rope.h"

namespace fathom {
namespace {

// The norms of the two latents keep this eps whatever rms_norm_eps is, as in every released
// implementation of the architecture.
constexpr float kLatentNormEps = 1e-6f;

// The input of o_proj has power-of-two scales (spec C).
constexpr bool kPowerOfTwo = true;

}  // namespace

kernels::MlaShape Mla::shape() const {
  return {config_.num_attention_heads, config_.qk_nope_head_dim, config_.qk_rope_head_dim,
          config_.v_head_dim, config_.softmax_scale()};
}

const Parameter& Mla::first_of_queries() const {
  return has_q_latent() ? w_.q_a_proj : w_.q_proj;
}

bool Mla::takes_e4m3(const Pass& pass) const {
  return is_storable(pass, first_of_queries(), OperandRole::kInput) &&
         is_storable(pass, w_.kv_a_proj_with_mqa, OperandRole::kInput);
}

void Mla::observe_input(const Pass& pass, ConstTensorView x_TD) const {
  observe_stored(pass, first_of_queries(), OperandRole::kInput, x_TD);
  observe_stored(pass, w_.kv_a_proj_with_mqa, OperandRole::kInput, x_TD);
}

void Mla::rotate_queries(const Pass& pass, TensorView q_TX, bool inverse) const {
  const TensorView q_rope_THR =
      q_TX.reshape({pass.tokens(), config_.num_attention_heads, config_.qk_head_dim()})
          .col_range(config_.qk_nope_head_dim, config_.qk_rope_head_dim);
  kernels::rope(pass.ctx, q_rope_THR, pass.position_T, rope_.cos_PI, rope_.sin_PI, inverse);
}

void Mla::rotate_key(const Pass& pass, TensorView k_rope_TR, bool inverse) const {
  TensorView k_T1R = k_rope_TR;
  k_T1R.rank = 3;
  k_T1R.shape = {pass.tokens(), 1, config_.qk_rope_head_dim};
  k_T1R.stride = {k_rope_TR.stride[0], config_.qk_rope_head_dim, 1};
  kernels::rope(pass.ctx, k_T1R, pass.position_T, rope_.cos_PI, rope_.sin_PI, inverse);
}

/// What is computed from the layer's input.
MlaProjections Mla::project_down(const Pass& pass, const kernels::GemmInput& x_TD) const {
  const int64_t tokens = pass.tokens();
  MlaProjections p;
  if (has_q_latent())
    p.q_a_TQ = pass.alloc_activation(tokens, config_.q_lora_rank);
  else
    p.q_TX = pass.alloc_activation(tokens, config_.num_attention_heads * config_.qk_head_dim());
  p.kv_a_TX = pass.alloc_activation(tokens, config_.cache_width());
  ArenaScope scope(pass.ctx.arena);
  LinearOperand x(pass, OperandRole::kInput, x_TD);
  const LinearOutput outputs[] = {{&w_.kv_a_proj_with_mqa, p.kv_a_TX},
                                  {&first_of_queries(), has_q_latent() ? p.q_a_TQ : p.q_TX}};
  linear_forward(pass, outputs, x);
  if (!has_q_latent()) rotate_queries(pass, p.q_TX, false);
  rotate_key(pass, rope_key(p.kv_a_TX), false);
  return p;
}

/// The rest, from the latents.
void Mla::project_up(const Pass& pass, MlaProjections& p) const {
  const int64_t tokens = pass.tokens(), latent = config_.kv_lora_rank;
  p.latent_TC = pass.alloc_activation(tokens, latent);
  p.latent_norm = norm_forward(pass, w_.kv_a_layernorm, kLatentNormEps,
                               p.kv_a_TX.col_range(0, latent), p.latent_TC);
  if (!has_q_latent()) return;
  p.q_a_normed_TQ = pass.alloc_activation(tokens, config_.q_lora_rank);
  p.q_norm = norm_forward(pass, w_.q_a_layernorm, kLatentNormEps, p.q_a_TQ, p.q_a_normed_TQ);
  p.q_TX = pass.alloc_activation(tokens, config_.num_attention_heads * config_.qk_head_dim());
  linear_forward(pass, w_.q_b_proj, p.q_a_normed_TQ, p.q_TX);
  rotate_queries(pass, p.q_TX, false);
}

MlaProjections Mla::project(const Pass& pass, ConstTensorView x_TD) const {
  MlaProjections p = project_down(pass, x_TD);
  project_up(pass, p);
  return p;
}

TensorView Mla::keys_values(const Pass& pass, const MlaProjections& p) const {
  const int64_t width =
      config_.num_attention_heads * (config_.qk_nope_head_dim + config_.v_head_dim);
  const TensorView kv_TX = pass.alloc_activation(pass.tokens(), width);
  linear_forward(pass, w_.kv_b_proj, p.latent_TC, kv_TX);
  return kv_TX;
}

MlaSaved Mla::forward(const Pass& pass, const kernels::GemmInput& x_TD,
                      TensorView residual_TD) const {
  const int64_t tokens = pass.tokens(), heads = config_.num_attention_heads;
  const int64_t width = heads * config_.v_head_dim;
  Arena& arena = pass.ctx.arena;
  MlaSaved saved;
  saved.lse_TH = pass.alloc_f32(tokens, heads);
  if (pass.keeps_fp8()) {
    saved.out_packed_TB = arena.alloc(DType::kU8, {tokens, kernels::e5m6_row_bytes(width)});
    saved.out_scale_TG = arena.alloc(DType::kU8, {tokens, kernels::e5m6_row_scales(width)});
  } else {
    saved.out_TX = pass.alloc_activation(tokens, width);
  }
  saved.proj = project_down(pass, x_TD);
  if (pass.recompute) {
    ArenaScope scope(arena);
    MlaProjections p = saved.proj;
    project_up(pass, p);
    attend(pass, p, keys_values(pass, p), saved, residual_TD);
  } else {
    project_up(pass, saved.proj);
    saved.kv_TX = keys_values(pass, saved.proj);
    attend(pass, saved.proj, saved.kv_TX, saved, residual_TD);
  }
  return saved;
}

/// Attention and o_proj, into the memory of saved.
void Mla::attend(const Pass& pass, const MlaProjections& p, ConstTensorView kv_TX,
                 const MlaSaved& saved, TensorView residual_TD) const {
  ArenaScope scope(pass.ctx.arena);
  const TensorView out_TX =
      saved.out_TX
          ? saved.out_TX
          : pass.alloc_activation(pass.tokens(), config_.num_attention_heads * config_.v_head_dim);
  kernels::mla_attention_forward(pass.ctx, shape(), p.q_TX, kv_TX, rope_key(p.kv_a_TX),
                                 pass.sequence_offsets, out_TX, saved.lse_TH, pass.precision);
  LinearOperand out(pass, OperandRole::kInput, out_TX, kPowerOfTwo);
  linear_forward(pass, w_.o_proj, out, residual_TD, true);
  if (saved.out_packed_TB)
    kernels::e5m6_pack(pass.ctx, out_TX, saved.out_packed_TB, saved.out_scale_TG);
}

TensorView Mla::attention_output(const Pass& pass, const MlaSaved& saved) const {
  if (saved.out_TX) return saved.out_TX;
  const TensorView out_TX =
      pass.alloc_activation(pass.tokens(), config_.num_attention_heads * config_.v_head_dim);
  kernels::e5m6_unpack(pass.ctx, saved.out_packed_TB, saved.out_scale_TG, out_TX);
  return out_TX;
}

MlaGradients Mla::backward_input(const Pass& pass, const MlaSaved& saved, ConstTensorView dy_TD,
                                 TensorView dx_TD) const {
  const int64_t tokens = pass.tokens(), latent = config_.kv_lora_rank;
  MlaGradients g;
  g.dy_TD = dy_TD;
  g.proj = saved.proj;
  if (pass.recompute) project_up(pass, g.proj);
  g.out_TX = attention_output(pass, saved);
  const MlaProjections& p = g.proj;
  g.dq_TX = pass.alloc_activation(tokens, p.q_TX.cols());
  g.dkv_TX = pass.alloc_activation(tokens, w_.kv_b_proj.rows());
  g.dkv_a_TX = pass.alloc_activation(tokens, config_.cache_width());
  g.dlatent_TC = pass.alloc_activation(tokens, latent);
  const TensorView dk_rope_TR = rope_key(g.dkv_a_TX);
  {
    ArenaScope scope(pass.ctx.arena);
    const TensorView kv_TX = saved.kv_TX ? saved.kv_TX : keys_values(pass, p);
    const TensorView dout_TX = pass.alloc_activation(tokens, g.out_TX.cols());
    LinearOperand dy(pass, OperandRole::kGradient, dy_TD);
    linear_backward_input(pass, w_.o_proj, dy, dout_TX);
    kernels::mla_attention_backward(pass.ctx, shape(), p.q_TX, kv_TX, rope_key(p.kv_a_TX),
                                    pass.sequence_offsets, g.out_TX, saved.lse_TH, dout_TX, g.dq_TX,
                                    g.dkv_TX, dk_rope_TR, pass.precision);
    rotate_queries(pass, g.dq_TX, true);
    rotate_key(pass, dk_rope_TR, true);
  }
  if (has_q_latent()) {
    g.dq_a_normed_TQ = pass.alloc_activation(tokens, config_.q_lora_rank);
    g.dq_a_TQ = pass.alloc_activation(tokens, config_.q_lora_rank);
  }
  ArenaScope scope(pass.ctx.arena);
  LinearOperand dkv(pass, OperandRole::kGradient, g.dkv_TX);
  linear_backward_input(pass, w_.kv_b_proj, dkv, g.dlatent_TC);
  norm_backward_input(pass, w_.kv_a_layernorm, p.latent_norm, g.dlatent_TC,
                      g.dkv_a_TX.col_range(0, latent), false);
  LinearOperand dkv_a(pass, OperandRole::kGradient, g.dkv_a_TX);
  linear_backward_input(pass, w_.kv_a_proj_with_mqa, dkv_a, dx_TD);
  LinearOperand dq(pass, OperandRole::kGradient, g.dq_TX);
  if (!has_q_latent()) {
    linear_backward_input(pass, w_.q_proj, dq, dx_TD, true);
    return g;
  }
  linear_backward_input(pass, w_.q_b_proj, dq, g.dq_a_normed_TQ);
  norm_backward_input(pass, w_.q_a_layernorm, p.q_norm, g.dq_a_normed_TQ, g.dq_a_TQ, false);
  LinearOperand dq_a(pass, OperandRole::kGradient, g.dq_a_TQ);
  linear_backward_input(pass, w_.q_a_proj, dq_a, dx_TD, true);
  return g;
}

void Mla::backward_weight(const Pass& pass, ConstTensorView x_TD, const MlaGradients& g) const {
  const MlaProjections& p = g.proj;
  const auto add = [&](const Parameter& w, ConstTensorView dy_TN, ConstTensorView x_TK,
                       bool power_of_two = false) {
    ArenaScope scope(pass.ctx.arena);
    LinearOperand dy(pass, OperandRole::kGradientForWeight, dy_TN);
    LinearOperand input(pass, OperandRole::kInputForWeight, x_TK, power_of_two);
    linear_backward_weight(pass, w, dy, input);
  };
  add(w_.o_proj, g.dy_TD, g.out_TX, kPowerOfTwo);
  add(w_.kv_b_proj, g.dkv_TX, p.latent_TC);
  norm_backward_weight(pass, w_.kv_a_layernorm, p.latent_norm, g.dlatent_TC);
  add(w_.kv_a_proj_with_mqa, g.dkv_a_TX, x_TD);
  if (!has_q_latent()) return add(w_.q_proj, g.dq_TX, x_TD);
  add(w_.q_b_proj, g.dq_TX, p.q_a_normed_TQ);
  norm_backward_weight(pass, w_.q_a_layernorm, p.q_norm, g.dq_a_normed_TQ);
  add(w_.q_a_proj, g.dq_a_TQ, x_TD);
}

}  // namespace fathom
