#include "kernels/cpu/attention_decode.h"

#include <vector>

#include "kernels/attention.h"
#include "kernels/checks.h"

namespace fathom::kernels {

namespace {

void check(const Context& ctx, const AbsorbedQueries& part) {
  const char* name = "mla_absorbed_decode";
  const int64_t T = part.q_latent_THC.shape[0], H = part.q_latent_THC.shape[1];
  const LatentCacheView& cache = part.cache;
  const int64_t C = cache.layout.latent, R = cache.layout.rope;
  check_same_device(name, ctx, {part.q_latent_THC, part.q_rope_THR, part.out_latent_THC});
  FATHOM_ASSERT(cache.device == ctx.device);
  check_dtype(name, "q_latent_THC", part.q_latent_THC, {DType::kF32});
  check_dtype(name, "q_rope_THR", part.q_rope_THR, {DType::kF32});
  check_dtype(name, "out_latent_THC", part.out_latent_THC, {DType::kF32});
  check_shape(name, "q_latent_THC", part.q_latent_THC, {T, H, C});
  check_shape(name, "q_rope_THR", part.q_rope_THR, {T, H, R});
  check_shape(name, "out_latent_THC", part.out_latent_THC, {T, H, C});
  FATHOM_ASSERT(std::ssize(part.position_T) == T);
  FATHOM_ASSERT(cache.pages.empty() ||
                cache.length <= std::ssize(cache.pages) * LatentCacheView::kPageRows);
  for (int32_t p : part.position_T) FATHOM_ASSERT(p >= 0 && p < cache.length);
}

}  // namespace

void mla_absorbed_decode(Context& ctx, std::span<const AbsorbedQueries> sequences, float scale) {
  if (sequences.empty()) return;
  const LatentCacheFormat format = sequences.front().cache.layout.format;
  std::vector<cpu::AbsorbedDecode> parts;
  for (const AbsorbedQueries& s : sequences) {
    check(ctx, s);
    FATHOM_ASSERT(s.cache.layout.format == format);
    parts.push_back({s.q_latent_THC, s.q_rope_THR, s.cache, s.position_T, scale, s.out_latent_THC});
  }
  const auto precision =
      format == LatentCacheFormat::kF32 ? GemmPrecision::kF32 : GemmPrecision::kBF16;
  cpu::absorbed_decode(ctx, parts, cpu::latent_kernels(ctx.isa, precision));
}

void mla_absorbed_decode(Context& ctx, ConstTensorView q_latent_THC, ConstTensorView q_rope_THR,
                         const LatentCacheView& cache, std::span<const int32_t> position_T,
                         float scale, TensorView out_latent_THC) {
  const AbsorbedQueries one{q_latent_THC, q_rope_THR, cache, position_T, out_latent_THC};
  mla_absorbed_decode(ctx, {&one, 1}, scale);
}

void mla_absorbed_decode(Context& ctx, ConstTensorView q_latent_THC, ConstTensorView q_rope_THR,
                         ConstTensorView cache_SX, std::span<const int32_t> position_T, float scale,
                         TensorView out_latent_THC) {
  mla_absorbed_decode(ctx, q_latent_THC, q_rope_THR,
                      latent_cache_view(cache_SX, q_latent_THC.shape[2]), position_T, scale,
                      out_latent_THC);
}

}  // namespace fathom::kernels
