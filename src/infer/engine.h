#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "infer/mtp_drafter.h"

namespace fathom {

struct EngineOptions {
  kernels::GemmPrecision precision = kernels::GemmPrecision::kBF16;
  int64_t max_context = 0;  ///< tokens; 0: as many as the model's RoPE table has positions
  bool mtp = false;         ///< keep the MTP modules in step, so that draft() works
  /// Tokens a pass while reading a prompt: into an empty cache, and over one that holds tokens
  /// (where absorbed attention needs 2·H·C F32 values a token).
  int64_t prefill_chunk = 2048, extend_chunk = 256;
};

/// Row t of logits [T, V].
inline std::span<const float> logits_row(ConstTensorView logits_TV, int64_t t) {
  const auto matrix = logits_TV.matrix<float>();
  return {matrix.row(t), static_cast<size_t>(matrix.cols)};
}

/// One sequence being read and continued: the model and its latent caches. Not thread-safe. A call
/// that throws leaves the sequence as it was. The model must outlive it.
class Engine {
 public:
  /// Throws when max_context exceeds the model's RoPE table, or mtp is asked of a model that has no
  /// module.
  Engine(const Transformer& model, ThreadPool& pool, EngineOptions options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const Transformer& model() const { return model_; }
  int64_t max_context() const { return options_.max_context; }
  /// Tokens read so far.
  int64_t position() const { return static_cast<int64_t>(tokens_.size()); }
  std::span<const int32_t> tokens() const { return tokens_; }
  /// 0 without options.mtp.
  int64_t mtp_depth() const { return drafter_ ? drafter_->depth() : 0; }
  /// Held by the caches, and for temporaries, now.
  size_t cache_bytes() const;
  size_t workspace_bytes() const { return arena_.capacity(); }

  /// Reads any number of tokens, in large passes. Logits [1, V] F32 of what follows the last, valid
  /// until the next prefill or decode. Throws when a token is not in the vocabulary or the context
  /// is too short.
  ConstTensorView prefill(std::span<const int32_t> token_T);
  /// Reads 1 to kernels::kSmallM tokens; logits [T, V] after each. A token's logits, and what the
  /// caches keep of it, have the same bits however tokens are split over calls.
  ConstTensorView decode(std::span<const int32_t> token_T);
  /// Forgets the tokens from `length` on.
  void truncate(int64_t length);

  /// MtpDrafter::draft. Once after each prefill or decode, then with one more token each time.
  ConstTensorView draft(std::span<const int32_t> ahead) { return drafter_->draft(tokens_, ahead); }

 private:
  void check(std::span<const int32_t> token_T) const;
  /// The last `logits` rows of the result go to logits_TV_.
  void append(std::span<const int32_t> token_T, CacheUse use, int64_t logits);
  ConstTensorView forward(const Pass& pass, CacheUse use, std::span<const int32_t> token_T);
  void make_room(int64_t tokens);

  const Transformer& model_;
  EngineOptions options_;
  Arena arena_;
  Context ctx_;
  std::vector<CachedBlock> layers_;
  std::optional<MtpDrafter> drafter_;
  std::vector<int32_t> tokens_;
  Tensor logits_TV_;  ///< [kSmallM, V]
};

}  // namespace fathom
