#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/tensor.h"
#include "kernels/cpu/ops_table.h"

namespace fathom::kernels::cpu {

/// Scores are kept in rows of whole vectors of any instruction set.
inline constexpr int64_t kScoreAlignment = 16;

/// Unscaled scores of `rows` queries against `keys` keys, and where the softmax weights go that
/// they become (F32 or BF16; what the next product multiplies). Query i sees the first
/// min(keys, visible + i·step) of them: step is 1 on the diagonal of causal attention. Strides are
/// multiples of kScoreAlignment. Weights of unseen keys are zero.
struct ScoreTile {
  const float* scores;
  MutableRows weights;
  int64_t stride;  ///< of scores
  int64_t rows, keys;
  int64_t visible, step;
  float scale;
};

/// Running state of the online softmax (Milakov & Gimelshein 2018), one entry a row:
/// sum = Σ e^(scale·s − highest) so far, acc = Σ e^(scale·s − highest)·v.
struct SoftmaxState {
  float* highest;
  float* sum;
  MatrixView<float> acc;
};

/// The per-instruction-set parts of attention, all of one thread: rows of tiles between products.
struct AttentionRows {
  /// Raises state.highest to include the tile, rescales acc and sum accordingly, adds the tile to
  /// the sum and writes its weights relative to the new maximum.
  void (*online_softmax)(const ScoreTile& tile, const SoftmaxState& state);
  /// out = acc / sum, lse = highest + ln sum (entry i at lse[i·lse_stride]; may be null).
  void (*finish)(const SoftmaxState& state, MutableRows out, float* lse, int64_t lse_stride);
  /// Adds the state of later keys to that of earlier ones.
  void (*merge)(const SoftmaxState& total, const SoftmaxState& part);
  /// Weights p = e^(scale·s − lse), and from dp, tile.stride apart, ds = scale·p·(dp − mean_dp).
  void (*softmax_backward)(const ScoreTile& tile, const float* lse, const float* mean_dp,
                           const float* dp, MutableRows ds);
  /// dot[i] = a[i] · b[i].
  void (*dot)(Rows a, Rows b, int64_t rows, int64_t cols, float* dot);
};

const AttentionRows& attention_rows(Isa isa);

#define FATHOM_DECLARE_ATTENTION(isa)        \
  namespace isa {                            \
  extern const AttentionRows kAttentionRows; \
  }
FATHOM_DECLARE_ATTENTION(scalar)
FATHOM_DECLARE_ATTENTION(avx2)
FATHOM_DECLARE_ATTENTION(avx512)
#undef FATHOM_DECLARE_ATTENTION

}  // namespace fathom::kernels::cpu
