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
/// visible + i·step of them, or all, or none: step is 1 on the diagonal of causal attention.
/// Strides are multiples of kScoreAlignment. Weights of unseen keys are zero.
struct ScoreTile {
  const float* scores;
  MutableRows weights;
  int64_t stride;  ///< of scores
  int64_t rows, keys;
  int64_t visible, step;
  float scale;
};

/// Scores and dp = dout·v of keys (rows) against queries (columns): transposed, as the products of
/// the backward want them. Query i sees the first visible + i keys. Rows of the F32 arrays are
/// `stride` apart and, like lse and mean_dp, may be read up to a multiple of kScoreAlignment.
struct GradientTile {
  const float *scores_KQ, *dp_KQ;
  MutableRows weights_KQ, ds_KQ;
  const float *lse_Q, *mean_dp_Q;
  int64_t stride;
  int64_t keys, queries;
  int64_t visible;
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
  /// Weights p = e^(scale·s − lse) and ds = scale·p·(dp − mean_dp); zero where unseen.
  void (*softmax_backward)(const GradientTile& tile);
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
