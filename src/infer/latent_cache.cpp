#include "infer/latent_cache.h"

#include <algorithm>

#include "kernels/elementwise.h"

namespace fathom {

LatentCache::LatentCache(const ModelConfig& config, DType dtype, int64_t max_length)
    : dtype_(dtype),
      width_(config.cache_width()),
      max_length_(max_length),
      rows_SX_(dtype, {std::min<int64_t>(max_length, 256), width_}) {}

void LatentCache::reserve(Context& ctx, int64_t rows) {
  FATHOM_ASSERT(rows <= max_length_);
  const int64_t capacity = rows_SX_.view().rows();
  if (rows <= capacity) return;
  Tensor grown(dtype_, {std::min(max_length_, std::max(rows, 2 * capacity)), width_});
  if (length_ > 0) kernels::copy(ctx, view(), grown.view().row_range(0, length_));
  rows_SX_ = std::move(grown);
}

void LatentCache::append(Context& ctx, ConstTensorView latent_TC, ConstTensorView k_rope_TR) {
  const int64_t tokens = latent_TC.rows(), latent = latent_TC.cols();
  reserve(ctx, length_ + tokens);
  const TensorView to_TX = rows_SX_.view().row_range(length_, tokens);
  kernels::copy(ctx, latent_TC, to_TX.col_range(0, latent));
  kernels::copy(ctx, k_rope_TR, to_TX.col_range(latent, width_ - latent));
  length_ += tokens;
}

void LatentCache::truncate(int64_t length) {
  FATHOM_ASSERT(length >= 0);
  length_ = std::min(length_, length);
}

}  // namespace fathom
