#include "infer/cached_block.h"

namespace fathom {

CachedBlock::CachedBlock(Context& ctx, const ModelConfig& config, const Block& block,
                         DType cache_dtype, int64_t max_length)
    : config_(config),
      block_(block),
      absorbed_(ctx, block.weights().self_attn, block.mla().shape()),
      cache_(config, cache_dtype, max_length) {}

void CachedBlock::forward(const Pass& pass, CacheUse use, TensorView residual_TD) {
  ArenaScope scope(pass.ctx.arena);
  BlockSaved saved;
  if (use == CacheUse::kFill) {
    FATHOM_ASSERT(cache_.length() == 0);
    block_.attention(pass, residual_TD, saved);
    remember(pass, saved.attention.proj);
  } else {
    extend(pass, residual_TD);
  }
  block_.ffn(pass, residual_TD, {}, saved);
}

void CachedBlock::remember(const Pass& pass, const MlaProjections& p) {
  FATHOM_ASSERT(pass.position_T.front() == cache_.length());
  cache_.append(pass.ctx, p.latent_TC,
                p.kv_a_TX.col_range(config_.kv_lora_rank, config_.qk_rope_head_dim));
}

void CachedBlock::extend(const Pass& pass, TensorView residual_TD) {
  ArenaScope scope(pass.ctx.arena);
  const TensorView x_TD = pass.alloc_activation(residual_TD.rows(), residual_TD.cols());
  norm_forward(pass, block_.weights().input_layernorm, static_cast<float>(config_.rms_norm_eps),
               residual_TD, x_TD);
  const MlaProjections p = block_.mla().project(pass, x_TD);
  remember(pass, p);
  absorbed_.forward(pass, p, cache_.view(), residual_TD);
}

}  // namespace fathom
