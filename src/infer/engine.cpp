#include "infer/engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "infer/token_range.h"

namespace fathom {
namespace {

EngineOptions checked(const Transformer& model, EngineOptions options) {
  const int64_t positions = model.rope().positions();
  if (options.max_context == 0) options.max_context = positions;
  if (options.max_context < 1 || options.max_context > positions)
    throw Error(fmt::format("a context of {} tokens is asked for; the model was opened for {}",
                            options.max_context, positions),
                fmt::format("ask for 1 to {} tokens", positions));
  if (options.mtp && model.mtp().empty())
    throw Error("the model has no multi-token prediction module (num_nextn_predict_layers = 0)",
                "generate without speculation");
  FATHOM_ASSERT(options.prefill_chunk > 0 && options.extend_chunk > 0);
  return options;
}

}  // namespace

Engine::Engine(const Transformer& model, ThreadPool& pool, EngineOptions options)
    : model_(model),
      options_(checked(model, options)),
      ctx_{Device{}, pool, arena_},
      logits_TV_(DType::kF32, {kernels::kSmallM, model.config().vocab_size}) {
  layers_.reserve(model.layers().size());
  for (const Block& block : model.layers())
    layers_.emplace_back(ctx_, model.config(), block, cache_dtype(options_.precision),
                         options_.max_context);
  if (options_.mtp) drafter_.emplace(ctx_, model, options_.precision, options_.max_context);
}

size_t Engine::cache_bytes() const {
  size_t bytes = drafter_ ? drafter_->cache_bytes() : 0;
  for (const CachedBlock& layer : layers_) bytes += layer.cache().bytes();
  return bytes;
}

void Engine::check(std::span<const int32_t> token_T) const {
  const int64_t total = position() + static_cast<int64_t>(token_T.size());
  if (total > max_context())
    throw Error(fmt::format("{} tokens do not fit the context of {}", total, max_context()),
                "shorten the prompt, or open the model with a longer context");
  for (const int32_t id : token_T)
    if (id < 0 || id >= model_.config().vocab_size)
      throw Error(
          fmt::format("token {} is not in the vocabulary of {}", id, model_.config().vocab_size),
          "the tokenizer does not belong to this model");
}

ConstTensorView Engine::prefill(std::span<const int32_t> token_T) {
  FATHOM_ASSERT(!token_T.empty());
  check(token_T);
  while (!token_T.empty()) {
    const CacheUse use = position() == 0 ? CacheUse::kFill : CacheUse::kExtend;
    const int64_t chunk = use == CacheUse::kFill ? options_.prefill_chunk : options_.extend_chunk;
    const size_t count = std::min(token_T.size(), static_cast<size_t>(chunk));
    append(token_T.first(count), use, count == token_T.size() ? 1 : 0);
    token_T = token_T.subspan(count);
    if (drafter_) drafter_->catch_up(tokens_);
  }
  return logits_TV_.view().row_range(0, 1);
}

ConstTensorView Engine::decode(std::span<const int32_t> token_T) {
  const auto count = static_cast<int64_t>(token_T.size());
  FATHOM_ASSERT(count >= 1 && count <= kernels::kSmallM);
  check(token_T);
  append(token_T, CacheUse::kExtend, count);
  if (drafter_ && drafter_->waiting() > kernels::kSmallM) drafter_->catch_up(tokens_);
  return logits_TV_.view().row_range(0, count);
}

void Engine::append(std::span<const int32_t> token_T, CacheUse use, int64_t logits) {
  ArenaScope scope(arena_);
  const auto count = static_cast<int64_t>(token_T.size());
  make_room(count);
  const TokenRange range(position(), count);
  const Pass pass = range.pass(ctx_, options_.precision);
  const ConstTensorView hidden_TD = forward(pass, use, token_T);
  if (drafter_) drafter_->push(position(), hidden_TD);
  tokens_.insert(tokens_.end(), token_T.begin(), token_T.end());
  if (logits > 0)
    model_.logits(pass, hidden_TD.row_range(count - logits, logits),
                  logits_TV_.view().row_range(0, logits));
}

/// Also drops what a call that threw left behind.
void Engine::make_room(int64_t tokens) {
  for (CachedBlock& layer : layers_) {
    layer.cache().truncate(position());
    layer.cache().reserve(ctx_, position() + tokens);
  }
}

/// Representations after the final norm.
ConstTensorView Engine::forward(const Pass& pass, CacheUse use, std::span<const int32_t> token_T) {
  const TensorView residual_TD = model_.embed(pass, token_T);
  for (CachedBlock& layer : layers_) layer.forward(pass, use, residual_TD);
  const TensorView hidden_TD = pass.alloc_f32(residual_TD.rows(), residual_TD.cols());
  norm_forward(pass, model_.weights().norm, static_cast<float>(model_.config().rms_norm_eps),
               residual_TD, hidden_TD);
  return hidden_TD;
}

void Engine::truncate(int64_t length) {
  FATHOM_ASSERT(length >= 0 && length <= position());
  tokens_.resize(static_cast<size_t>(length));
  for (CachedBlock& layer : layers_) layer.cache().truncate(length);
  if (drafter_) drafter_->truncate(length);
}

}  // namespace fathom
