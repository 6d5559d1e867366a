#pragma once

#include <cstdint>
#include <span>

#include "base/tensor.h"
#include "kernels/attention.h"

namespace fathom::kernels::ref {

/// The definitions of kernels/attention.h in double precision, one loop an index. Every tensor may
/// be F64, F32 or BF16. The backward recomputes the forward, so that it needs neither out nor lse.
void mla_attention_forward(const MlaShape& shape, ConstTensorView q_TX, ConstTensorView kv_SX,
                           ConstTensorView k_rope_SR, std::span<const int64_t> query_offsets,
                           std::span<const int64_t> key_offsets, TensorView out_TX,
                           TensorView lse_TH);

void mla_attention_backward(const MlaShape& shape, ConstTensorView q_TX, ConstTensorView kv_TX,
                            ConstTensorView k_rope_TR, std::span<const int64_t> sequence_offsets,
                            ConstTensorView dout_TX, TensorView dq_TX, TensorView dkv_TX,
                            TensorView dk_rope_TR);

void mla_absorbed_decode(ConstTensorView q_latent_THC, ConstTensorView q_rope_THR,
                         ConstTensorView cache_SX, std::span<const int32_t> position_T, float scale,
                         TensorView out_latent_THC);

/// What the rows of a cache stand for: values_SX [S, C+R].
void load_latent_rows(const LatentCacheView& cache, TensorView values_SX);

}  // namespace fathom::kernels::ref
