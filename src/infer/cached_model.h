#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "infer/cached_block.h"
#include "model/transformer.h"

namespace fathom {

struct CacheOptions {
  PassOptions precision = {};
  /// What cached values are stored as; by default F32 in FP32 precision and BF16 in BF16.
  std::optional<kernels::LatentCacheFormat> cache_format = {};
  int64_t cache_tokens = 0;  ///< of all sequences together; 0: as many as the model's RoPE table
  bool mtp = false;          ///< room for the MTP modules' layers too
};

/// A model over latent caches of many sequences: the passes that reading and continuing text are
/// made of. The model must outlive it. Not thread-safe.
class CachedModel {
 public:
  CachedModel(const Transformer& model, ThreadPool& pool, const CacheOptions& options);
  CachedModel(const CachedModel&) = delete;
  CachedModel& operator=(const CachedModel&) = delete;

  const Transformer& model() const { return model_; }
  PagePool& pages() { return pages_; }
  const PagePool& pages() const { return pages_; }
  Arena& arena() { return arena_; }
  ThreadPool& pool() { return packed_.pool; }
  const PassOptions& precision() const { return precision_; }
  /// Temporaries, now.
  size_t workspace_bytes() const { return arena_.capacity(); }
  Context& context(TokenForm form) { return form == TokenForm::kPacked ? packed_ : streamed_; }

  /// Tokens that follow what a cache holds, for which it has room.
  struct Tokens {
    SequenceCache* cache;
    std::span<const int32_t> ids;
  };
  /// Reads tokens of several sequences, weights shared by all: their caches hold them afterwards.
  /// Representations after the final norm, F32 [ΣT, D], from the arena: the caller's ArenaScope
  /// ends their life. Empty when `stop`, asked before each layer, said true: then the caches hold
  /// what they held.
  TensorView forward(TokenForm form, std::span<const Tokens> sequences,
                     const std::function<bool()>& stop = {});
  /// Routed experts that had tokens in the last forward(), of all layers.
  int64_t experts_read() const { return experts_read_; }
  /// One layer: of the main model, or from num_hidden_layers on of the MTP modules. Returns how
  /// many routed experts had tokens.
  int64_t layer(const CachedPass& pass, int64_t layer, TensorView residual_TD) const {
    return layers_[static_cast<size_t>(layer)].forward(pass, residual_TD);
  }
  /// Logits F32 [T, V] of representations. A row does not depend on the others.
  void logits(ConstTensorView hidden_TD, TensorView logits_TV);

 private:
  const Transformer& model_;
  PassOptions precision_;
  Arena arena_;
  Context packed_, streamed_;
  PagePool pages_;
  std::vector<CachedBlock> layers_;
  int64_t experts_read_ = 0;
};

}  // namespace fathom
