#pragma once

#include "base/context.h"
#include "model/config.h"

namespace fathom {

/// What one layer remembers of one sequence (spec A.2): for each token the normed latent, then the
/// roped key, C+R values. Memory grows geometrically up to max_length tokens.
class LatentCache {
 public:
  /// dtype: BF16, or F32 in an F32 pass.
  LatentCache(const ModelConfig& config, DType dtype, int64_t max_length);

  int64_t length() const { return length_; }
  size_t bytes() const { return rows_SX_.view().bytes(); }
  /// [length, C+R]
  ConstTensorView view() const { return rows_SX_.view().row_range(0, length_); }

  /// Makes room for `rows` tokens in all, so that append cannot fail.
  void reserve(Context& ctx, int64_t rows);
  /// As Mla::project gives them: latent_TC, and the rope columns of kv_a_TX.
  void append(Context& ctx, ConstTensorView latent_TC, ConstTensorView k_rope_TR);
  /// Forgets the tokens from `length` on.
  void truncate(int64_t length);

 private:
  DType dtype_;
  int64_t width_, max_length_;
  int64_t length_ = 0;
  Tensor rows_SX_;
};

}  // namespace fathom
