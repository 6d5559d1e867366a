#include "infer/cached_model.h"

namespace fathom {
namespace {

using kernels::GemmPrecision;
using kernels::LatentCacheFormat;

PageLayout page_layout(const Transformer& model, const CacheOptions& options) {
  const ModelConfig& config = model.config();
  const auto plain = options.precision.precision == GemmPrecision::kF32 ? LatentCacheFormat::kF32
                                                                        : LatentCacheFormat::kBF16;
  const auto layers = model.layers().size() + (options.mtp ? model.mtp().size() : 0);
  return {{options.cache_format.value_or(plain), config.kv_lora_rank, config.qk_rope_head_dim},
          static_cast<int64_t>(layers)};
}

int64_t page_count(const Transformer& model, const CacheOptions& options) {
  FATHOM_ASSERT(options.cache_tokens >= 0);
  return pages_for(options.cache_tokens > 0 ? options.cache_tokens : model.rope().positions());
}

}  // namespace

CachedModel::CachedModel(const Transformer& model, ThreadPool& pool, const CacheOptions& options)
    : model_(model),
      precision_(options.precision),
      packed_{Device{}, pool, arena_},
      streamed_{Device{}, pool, arena_},
      pages_(page_layout(model, options), page_count(model, options)) {
  packed_.product_form = product_form(TokenForm::kPacked);
  streamed_.product_form = product_form(TokenForm::kStreamed);
  const auto add = [&](const Block& block) {
    layers_.emplace_back(packed_, model.config(), block, std::ssize(layers_));
  };
  layers_.reserve(static_cast<size_t>(pages_.layout().layers));
  for (const Block& block : model.layers()) add(block);
  if (options.mtp)
    for (const Mtp& mtp : model.mtp()) add(mtp.block());
}

TensorView CachedModel::forward(TokenForm form, std::span<const Tokens> sequences,
                                const std::function<bool()>& stop) {
  std::vector<CachedPass::Part> parts;
  std::vector<int32_t> token_T;
  for (const Tokens& s : sequences) {
    parts.push_back({s.cache, s.cache->length(), std::ssize(s.ids)});
    token_T.insert(token_T.end(), s.ids.begin(), s.ids.end());
  }
  const CachedPass cached(context(form), precision_, form, parts);
  const Pass& pass = cached.pass();
  const TensorView hidden_TD = pass.alloc_f32(std::ssize(token_T), model_.config().hidden_size);
  const ArenaScope scope(arena_);
  const TensorView residual_TD = model_.embed(pass, token_T);
  experts_read_ = 0;
  for (int64_t l = 0; l < std::ssize(model_.layers()); ++l) {
    if (stop && stop()) return {};
    experts_read_ += layer(cached, l, residual_TD);
  }
  norm_forward(pass, model_.weights().norm, static_cast<float>(model_.config().rms_norm_eps),
               residual_TD, hidden_TD);
  for (const Segment& s : cached.segments()) s.cache->set_length(s.end());
  return hidden_TD;
}

void CachedModel::logits(ConstTensorView hidden_TD, TensorView logits_TV) {
  const CachedPass pass(streamed_, precision_, TokenForm::kStreamed, {});
  model_.logits(pass.pass(), hidden_TD, logits_TV);
}

}  // namespace fathom
