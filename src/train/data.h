#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "train/batch.h"
#include "train/config.h"
#include "train/data_cache.h"
#include "train/data_encoder.h"
#include "train/data_order.h"

namespace fathom::train {

/// Documents of a cache joined in some order and cut into windows of seq_len tokens, each with
/// `lookahead` tokens of the next.
class PackedStream {
 public:
  /// order: of the documents; null: as in the cache.
  PackedStream(const TokenCache& cache, int64_t seq_len, int64_t lookahead,
               const Permutation* order = nullptr);

  int64_t windows() const { return windows_; }
  /// Window `index`, [seq_len + lookahead].
  void window(int64_t index, int32_t* out) const;

 private:
  const TokenCache* cache_;
  int64_t seq_len_, lookahead_, windows_;
  std::vector<int64_t> order_;   ///< documents as joined
  std::vector<int64_t> starts_;  ///< where each begins in the stream; one more: the end
};

/// Where a run's tokens come from: data.* of its configuration, the MTP depth and the model.
struct DatasetOptions {
  TrainConfig::Data data;
  uint64_t seed = 0;
  int64_t mtp_depth = 0;
  int64_t vocab_size = 0;  ///< the model's, at least the tokenizer's
  std::filesystem::path cache_dir;
};

/// Training and held-out tokens. Sample i of training is a function of (options, text, i) alone,
/// so that a run resumes from its sample number. Each epoch joins the documents in another order
/// and reads the windows in another order; the few tokens after an epoch's last whole window are
/// left out.
class TokenDataset {
 public:
  /// Tokenises what is not cached yet. Throws Error for unusable text (data_source.h), too little
  /// of it for one window, or a vocabulary larger than the model's.
  static TokenDataset open(const DatasetOptions& options, const TextEncoder& encoder,
                           ThreadPool& pool);

  int64_t train_tokens() const { return train_->tokens(); }
  int64_t train_samples_per_epoch() const { return samples_; }
  /// Samples [first, first + count) of training; first may be in any epoch.
  Batch train_batch(int64_t first, int64_t count);

  /// Held-out windows, always the same in the same order; 0 when nothing is held out.
  int64_t valid_samples() const { return valid_stream_ ? valid_stream_->windows() : 0; }
  Batch valid_batch(int64_t first, int64_t count) const;
  /// Bytes of text a held-out token stands for, for bits per byte.
  double valid_bytes_per_token() const;

 private:
  struct Epoch {
    int64_t number;
    PackedStream stream;
  };

  Batch empty_batch(int64_t count) const;
  const PackedStream& epoch(int64_t number);
  void check_size(const char* what, const TokenCache& cache, const char* hint) const;

  DatasetOptions options_;
  std::unique_ptr<TokenCache> train_, valid_;  // at fixed addresses: streams point to them
  std::optional<Epoch> epoch_;
  std::optional<PackedStream> valid_stream_;
  int64_t samples_ = 0;
};

}  // namespace fathom::train
