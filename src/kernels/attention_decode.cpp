#include "kernels/cpu/attention_decode.h"
#include "kernels/attention.h"
#include "kernels/checks.h"

namespace fathom::kernels {

void mla_absorbed_decode(Context& ctx, ConstTensorView q_latent_THC, ConstTensorView q_rope_THR,
                         const LatentCacheView& cache, std::span<const int32_t> position_T,
                         float scale, TensorView out_latent_THC) {
  const char* name = "mla_absorbed_decode";
  const int64_t T = q_latent_THC.shape[0], H = q_latent_THC.shape[1];
  const int64_t C = cache.layout.latent, R = cache.layout.rope;
  check_same_device(name, ctx, {q_latent_THC, q_rope_THR, out_latent_THC});
  FATHOM_ASSERT(cache.device == ctx.device);
  check_dtype(name, "q_latent_THC", q_latent_THC, {DType::kF32});
  check_dtype(name, "q_rope_THR", q_rope_THR, {DType::kF32});
  check_dtype(name, "out_latent_THC", out_latent_THC, {DType::kF32});
  check_shape(name, "q_latent_THC", q_latent_THC, {T, H, C});
  check_shape(name, "q_rope_THR", q_rope_THR, {T, H, R});
  check_shape(name, "out_latent_THC", out_latent_THC, {T, H, C});
  FATHOM_ASSERT(std::ssize(position_T) == T);
  FATHOM_ASSERT(cache.pages.empty() ||
                cache.length <= std::ssize(cache.pages) * LatentCacheView::kPageRows);
  for (int32_t p : position_T) FATHOM_ASSERT(p >= 0 && p < cache.length);
  const auto precision =
      cache.layout.format == LatentCacheFormat::kF32 ? GemmPrecision::kF32 : GemmPrecision::kBF16;
  cpu::absorbed_decode(ctx, {q_latent_THC, q_rope_THR, cache, position_T, scale, out_latent_THC},
                       cpu::latent_kernels(ctx.isa, precision));
}

void mla_absorbed_decode(Context& ctx, ConstTensorView q_latent_THC, ConstTensorView q_rope_THR,
                         ConstTensorView cache_SX, std::span<const int32_t> position_T, float scale,
                         TensorView out_latent_THC) {
  mla_absorbed_decode(ctx, q_latent_THC, q_rope_THR,
                      latent_cache_view(cache_SX, q_latent_THC.shape[2]), position_T, scale,
                      out_latent_THC);
}

}  // namespace fathom::kernels
