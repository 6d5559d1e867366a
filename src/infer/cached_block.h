#pragma once

#include "infer/absorbed_attention.h"
#include "infer/latent_cache.h"
#include "model/block.h"

namespace fathom {

/// How the tokens of a pass attend.
enum class CacheUse : uint8_t {
  kFill,    ///< among themselves, as in training; the cache is empty before
  kExtend,  ///< to the whole cache, absorbed
};

/// One decoder layer and what it remembers of the sequence.
class CachedBlock {
 public:
  CachedBlock(Context& ctx, const ModelConfig& config, const Block& block, DType cache_dtype,
              int64_t max_length);

  /// Appends the tokens of the pass to the cache and takes residual_TD (F32) through the layer.
  void forward(const Pass& pass, CacheUse use, TensorView residual_TD);

  LatentCache& cache() { return cache_; }
  const LatentCache& cache() const { return cache_; }

 private:
  void remember(const Pass& pass, const MlaProjections& p);
  void extend(const Pass& pass, TensorView residual_TD);

  const ModelConfig& config_;
  const Block& block_;
  AbsorbedAttention absorbed_;
  LatentCache cache_;
};

/// The cache's format in a pass of that precision.
inline DType cache_dtype(kernels::GemmPrecision precision) {
  return precision == kernels::GemmPrecision::kF32 ? DType::kF32 : DType::kBF16;
}

}  // namespace fathom
