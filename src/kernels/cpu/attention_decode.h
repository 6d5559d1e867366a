#pragma once

#include <cstdint>
#include <span>

#include "base/context.h"
#include "base/tensor.h"
#include "kernels/cpu/attention_latent.h"
#include "kernels/latent_cache.h"

namespace fathom::kernels::cpu {

/// One sequence's part of mla_absorbed_decode, checked.
struct AbsorbedDecode {
  ConstTensorView q_latent_THC, q_rope_THR;
  LatentCacheView cache;
  std::span<const int32_t> position_T;
  float scale;
  TensorView out_latent_THC;

  int64_t heads() const { return q_latent_THC.shape[1]; }
};

/// Partial results kept at a time, bytes. Results do not depend on it.
inline constexpr int64_t kDecodePartBytes = int64_t{64} << 20;

void absorbed_decode(Context& ctx, std::span<const AbsorbedDecode> parts,
                     const LatentKernels& kernels, int64_t part_bytes = kDecodePartBytes);
inline void absorbed_decode(Context& ctx, const AbsorbedDecode& part, const LatentKernels& kernels,
                            int64_t part_bytes = kDecodePartBytes) {
  absorbed_decode(ctx, {&part, 1}, kernels, part_bytes);
}

}  // namespace fathom::kernels::cpu
