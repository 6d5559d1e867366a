#pragma once

#include <cstdint>
#include <span>

#include "base/context.h"
#include "kernels/gemm.h"
#include "kernels/latent_cache.h"

namespace fathom::kernels {

/// Head dimensions of Multi-head Latent Attention (spec A.2).
struct MlaShape {
  int64_t heads = 0;     ///< H
  int64_t nope_dim = 0;  ///< per-head part of q and k without position (128 in V3)
  int64_t rope_dim = 0;  ///< roped part; k's is shared by all heads (64)
  int64_t v_dim = 0;     ///< (128)
  float scale = 0;       ///< softmax scale, YaRN's m² included
};

/// Causal attention over packed sequences, for training and prefill (spec A.2):
///   o_{t,h} = Σ_{j<=p(t)} softmax_j(scale · (q^C_{t,h}·k^C_{j,h} + q^R_{t,h}·k^R_j)) v_{j,h}
/// Sequence s owns keys [key_offsets[s], key_offsets[s+1]) and, at the end of them, queries
/// [query_offsets[s], query_offsets[s+1]): the last query sits at the last key, so a prompt may be
/// prefilled in chunks whose queries see the keys of the chunks before. Positions p(t) attend to
/// their own sequence up to themselves. Layouts as the projections write them (F32 or BF16, all of
/// one dtype, last dimension contiguous), T queries, S >= T keys:
///   q_TX   [T, H·(nope+rope)]  per head nope then rope, roped
///   kv_SX  [S, H·(nope+v)]     per head k^C then v (kv_b_proj's output)
///   k_rope_SR [S, rope]        roped, any row stride
///   out_TX [T, H·v];  lse_TH [T, H] F32: log-sum-exp of the scaled scores, kept for the backward
/// Softmax in FP32; memory linear in sequence length. `precision` is that of the matrix products.
/// A query's result depends neither on the number of threads nor on how a prompt is cut in chunks.
/// FLOPs of n queries at the end of L keys: H·n·(2L−n)·(nope+rope+v) (causal half counted).
void mla_attention_forward(Context& ctx, const MlaShape& shape, ConstTensorView q_TX,
                           ConstTensorView kv_SX, ConstTensorView k_rope_SR,
                           std::span<const int64_t> query_offsets,
                           std::span<const int64_t> key_offsets, TensorView out_TX,
                           TensorView lse_TH, GemmPrecision precision);
/// The same where every key has its query, as in training.
void mla_attention_forward(Context& ctx, const MlaShape& shape, ConstTensorView q_TX,
                           ConstTensorView kv_TX, ConstTensorView k_rope_TR,
                           std::span<const int64_t> sequence_offsets, TensorView out_TX,
                           TensorView lse_TH, GemmPrecision precision);

/// Gradients of all three inputs, each overwritten, same layouts and dtypes as the inputs (dk_rope
/// sums over heads). FLOPs: 2.5 times the forward's. Independent of the number of threads.
void mla_attention_backward(Context& ctx, const MlaShape& shape, ConstTensorView q_TX,
                            ConstTensorView kv_TX, ConstTensorView k_rope_TR,
                            std::span<const int64_t> sequence_offsets, ConstTensorView out_TX,
                            ConstTensorView lse_TH, ConstTensorView dout_TX, TensorView dq_TX,
                            TensorView dkv_TX, TensorView dk_rope_TR, GemmPrecision precision);

/// Absorbed decode over one sequence's latent cache (spec A.2, "absorbed form"): query token t sits
/// at position position_T[t] and attends to cache rows 0..position_T[t]:
///   õ_{t,h} = Σ_j softmax_j(scale · (q̃_{t,h}·c_j + q^R_{t,h}·k^R_j)) c_j
///   q_latent_THC [T, H, C] F32, q_rope_THR [T, H, R] F32 (any token and head stride)
///   cache        C + R values a row in any of the formats of kernels/latent_cache.h
///   out_latent_THC [T, H, C] F32
/// Softmax in FP32; the matrix products are as precise as the cache: F32, or with a BF16 or FP8
/// cache, whose values are exact in BF16, queries and softmax weights are rounded to BF16 as they
/// are multiplied. A token's result does not depend on the other tokens of the call, on pages, nor
/// on the number of threads; rows beyond its position do not matter, whatever they hold.
/// FLOPs: 2·T·H·S·(2C+R); bytes: S rows once for all heads.
void mla_absorbed_decode(Context& ctx, ConstTensorView q_latent_THC, ConstTensorView q_rope_THR,
                         const LatentCacheView& cache, std::span<const int32_t> position_T,
                         float scale, TensorView out_latent_THC);
/// The same for several sequences at once, each over its own cache, all of one format: a result
/// does not depend on the others.
struct AbsorbedQueries {
  ConstTensorView q_latent_THC, q_rope_THR;
  LatentCacheView cache;
  std::span<const int32_t> position_T;
  TensorView out_latent_THC;
};
void mla_absorbed_decode(Context& ctx, std::span<const AbsorbedQueries> sequences, float scale);
/// The same over cache_SX [S, C+R], F32 or BF16.
void mla_absorbed_decode(Context& ctx, ConstTensorView q_latent_THC, ConstTensorView q_rope_THR,
                         ConstTensorView cache_SX, std::span<const int32_t> position_T, float scale,
                         TensorView out_latent_THC);

}  // namespace fathom::kernels
