#pragma once

#include <vector>

#include "infer/cached_pass.h"
#include "model/mla.h"

namespace fathom {

/// Attention over the latent cache with W^UK and W^UV absorbed (spec A.2): queries are taken into
/// the latent space, so that keys and values are never rebuilt for past tokens.
///   q̃_h = (W_h^UK)ᵀ q_h^C;  õ_h = Σ_j softmax_j(scale·(q̃_h·c_j + q_h^R·k_j^R)) c_j;  o_h = W_h^UV
///   õ_h
/// A token's result does not depend on the other tokens of the pass.
class AbsorbedAttention {
 public:
  /// Derives (W_h^UK)ᵀ, whose rows a matrix product can stream, unless the weights have it. They
  /// must outlive this.
  AbsorbedAttention(Context& ctx, const MlaWeights& weights, const kernels::MlaShape& shape);

  /// residual_TD (F32) += W^O · attention. The layer's cache holds the tokens of p already.
  void forward(const CachedPass& pass, int64_t layer, const MlaProjections& p,
               TensorView residual_TD) const;

 private:
  void derive(Context& ctx, const kernels::GemmInput& kv_b_XC);
  void use_stored(const kernels::GemmInput& key_XN, const kernels::GemmInput& value_XC);
  TensorView attend(const CachedPass& pass, int64_t layer, const MlaProjections& p) const;

  const MlaWeights& w_;
  kernels::MlaShape shape_;
  Tensor w_uk_XN_;                          ///< [H·C, nope], if derived
  std::vector<kernels::GemmInput> w_uk_H_;  ///< (W_h^UK)ᵀ [C, nope]
  std::vector<kernels::GemmInput> w_uv_H_;  ///< W_h^UV [v, C]
};

}  // namespace fathom
