#include "infer/cached_block.h"

namespace fathom {
namespace {

int64_t experts_with_tokens(const MoeSaved& saved) {
  const TensorView& offsets = saved.plan.offset_E1;
  if (!offsets) return 0;
  const int64_t* offset = offsets.as<int64_t>();
  int64_t count = 0;
  for (int64_t e = 0; e + 1 < offsets.elements(); ++e) count += offset[e] < offset[e + 1];
  return count;
}

}  // namespace

CachedBlock::CachedBlock(Context& ctx, const ModelConfig& config, const Block& block, int64_t layer)
    : config_(config),
      block_(block),
      layer_(layer),
      absorbed_(ctx, block.weights().self_attn, block.mla().shape()),
      rebuilt_(block.weights().self_attn, block.mla().shape()) {}

int64_t CachedBlock::forward(const CachedPass& pass, TensorView residual_TD) const {
  const ArenaScope scope(pass.pass().ctx.arena);
  attention(pass, residual_TD);
  BlockSaved saved;
  block_.ffn(pass.pass(), residual_TD, {}, saved);
  return experts_with_tokens(saved.moe);
}

void CachedBlock::attention(const CachedPass& cached, TensorView residual_TD) const {
  const Pass& pass = cached.pass();
  const ArenaScope scope(pass.ctx.arena);
  const TensorView x_TD = pass.alloc_activation(residual_TD.rows(), residual_TD.cols());
  norm_forward(pass, block_.weights().input_layernorm, static_cast<float>(config_.rms_norm_eps),
               residual_TD, x_TD);
  const MlaProjections p = block_.mla().project(pass, x_TD);
  remember(cached, p);
  if (cached.form() == TokenForm::kPacked)
    rebuilt_.forward(cached, layer_, p, residual_TD);
  else
    absorbed_.forward(cached, layer_, p, residual_TD);
}

void CachedBlock::remember(const CachedPass& cached, const MlaProjections& p) const {
  const TensorView rope_TR = p.kv_a_TX.col_range(config_.kv_lora_rank, config_.qk_rope_head_dim);
  for (const Segment& s : cached.segments())
    s.cache->write(cached.pass().ctx, layer_, s.begin, p.latent_TC.row_range(s.row, s.count),
                   rope_TR.row_range(s.row, s.count));
}

}  // namespace fathom
