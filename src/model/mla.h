#pragma once

#include "kernels/attention.h"
#include "model/config.h"
#include "model/linear.h"
#include "model/norm.h"
#include "model/rope_table.h"

namespace fathom {

/// Multi-head Latent Attention (spec A.2). Either q_proj, or q_a_proj, q_a_layernorm and q_b_proj.
struct MlaWeights {
  Parameter q_proj;              ///< [H·(nope+rope), D]
  Parameter q_a_proj;            ///< [q_lora, D]
  Parameter q_a_layernorm;       ///< [q_lora]
  Parameter q_b_proj;            ///< [H·(nope+rope), q_lora]
  Parameter kv_a_proj_with_mqa;  ///< [C+R, D]: latent rows, then the shared rope key
  Parameter kv_a_layernorm;      ///< [C]
  Parameter kv_b_proj;           ///< [H·(nope+v), C]: per head W^UK rows, then W^UV rows
  Parameter o_proj;              ///< [D, H·v]
  /// The halves of kv_b_proj as absorbed attention multiplies them, where a file holds them so:
  /// [H·C, nope] per head W^UKᵀ, [H·v, C] per head W^UV. Empty: made of kv_b_proj.
  kernels::GemmInput absorbed_key, absorbed_value;
};

/// Queries and the latent, before attention: computed the same way in training and with a cache.
/// What a recomputing pass keeps of it is marked.
struct MlaProjections {
  TensorView q_a_TQ;         ///< [T, q_lora], empty without q_lora; kept
  TensorView q_a_normed_TQ;  ///<
  NormSaved q_norm;
  TensorView q_TX;       ///< [T, H·(nope+rope)], rope part rotated; kept without q_lora
  TensorView kv_a_TX;    ///< [T, C+R]: latent before its norm; rope key, rotated; kept
  TensorView latent_TC;  ///< [T, C], normed
  NormSaved latent_norm;
};

/// What MLA keeps for its backward.
struct MlaSaved {
  MlaProjections proj;
  TensorView kv_TX;                        ///< [T, H·(nope+v)]; empty in a recomputing pass
  TensorView out_TX;                       ///< [T, H·v], input of o_proj; in an FP8 pass instead
  TensorView out_packed_TB, out_scale_TG;  ///< as E5M6 (kernels/e5m6.h)
  TensorView lse_TH;                       ///< F32
};

/// What backward_input leaves for backward_weight: the gradient of every Linear's and norm's
/// output, and the inputs that the forward did not keep.
struct MlaGradients {
  ConstTensorView dy_TD;
  TensorView dq_TX, dq_a_normed_TQ, dq_a_TQ;
  TensorView dkv_TX, dlatent_TC, dkv_a_TX;
  MlaProjections proj;
  TensorView out_TX;
};

class Mla {
 public:
  Mla(const ModelConfig& config, const RopeTable& rope, const MlaWeights& weights)
      : config_(config), rope_(rope), w_(weights) {}

  MlaProjections project(const Pass& pass, ConstTensorView x_TD) const;
  /// residual_TD (F32) += MLA(x_TD); x_TD is the normed input.
  MlaSaved forward(const Pass& pass, const kernels::GemmInput& x_TD, TensorView residual_TD) const;
  /// dx_TD (F32) = gradient of x_TD from dy_TD, the gradient of what forward added.
  MlaGradients backward_input(const Pass& pass, const MlaSaved& saved, ConstTensorView dy_TD,
                              TensorView dx_TD) const;
  void backward_weight(const Pass& pass, ConstTensorView x_TD, const MlaGradients& g) const;

  kernels::MlaShape shape() const;
  /// Whether forward wants nothing of its input but E4M3 in tiles of 1x128.
  bool takes_e4m3(const Pass& pass) const;
  /// For then: shows the pass's observer, if there is one, the input as it was before.
  void observe_input(const Pass& pass, ConstTensorView x_TD) const;

 private:
  bool has_q_latent() const { return config_.q_lora_rank > 0; }
  const Parameter& first_of_queries() const;  ///< q_a_proj, or q_proj without a latent
  TensorView rope_key(const TensorView& kv_a_TX) const {
    return kv_a_TX.col_range(config_.kv_lora_rank, config_.qk_rope_head_dim);
  }
  void rotate_queries(const Pass& pass, TensorView q_TX, bool inverse) const;
  void rotate_key(const Pass& pass, TensorView k_rope_TR, bool inverse) const;
  MlaProjections project_down(const Pass& pass, const kernels::GemmInput& x_TD) const;
  void project_up(const Pass& pass, MlaProjections& p) const;
  TensorView keys_values(const Pass& pass, const MlaProjections& p) const;
  void attend(const Pass& pass, const MlaProjections& p, ConstTensorView kv_TX,
              const MlaSaved& saved, TensorView residual_TD) const;
  TensorView attention_output(const Pass& pass, const MlaSaved& saved) const;

  const ModelConfig& config_;
  const RopeTable& rope_;
  const MlaWeights& w_;
};

}  // namespace fathom
