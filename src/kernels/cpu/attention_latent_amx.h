#pragma once

// The products of absorbed decode on AMX tiles. For the scores, tiles of 16 keys are loaded from
// the cache as it lies; for the values, pairs of keys are interleaved once for all heads, as a
// right operand wants them, and the softmax weights transposed to rows. For files compiled once per
// instruction set.

#include <algorithm>

#include "kernels/cpu/amx_tile.h"
#include "kernels/cpu/attention_latent.h"
#include "kernels/cpu/attention_latent_softmax.h"
#include "kernels/cpu/attention_latent_unit.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

constexpr int64_t kAmxChunk = 256;
constexpr int64_t kAmxSegment = 32;     // k of a tile
constexpr int64_t kAmxLatentStep = 32;  // two tiles of columns
static_assert(kLanes == kTileRows);

/// A tile's space: softmax, then the operands of the values.
struct AmxSpace {
  AmxSpace(std::byte* p, int64_t pairs, int64_t width) {
    const int64_t panels = (pairs + kLanes - 1) / kLanes * kLanes;
    const auto take = [&](int64_t n) {
      std::byte* at = p ? p + bytes : nullptr;
      bytes += (n + 63) / 64 * 64;
      return at;
    };
    softmax.stride = panels;
    softmax.scores_KP = reinterpret_cast<float*>(take(kAmxChunk * panels * 4));
    softmax.weights = take(kAmxChunk / 2 * panels * 4);
    weights_PK = take((panels + kTileRows) * kWeightRowBytes);
    keys_KC = take(kAmxChunk / 2 * width * 4);
    last_rows = take(kTileRows * width * 2);
  }
  static constexpr int64_t kWeightRowBytes = kAmxChunk * 2;

  LatentSpace softmax;
  std::byte* weights_PK;  ///< BF16; tiles may begin at any pair
  std::byte* keys_KC;     ///< words of two keys
  std::byte* last_rows;   ///< fewer than 16 keys, padded with zeros
  int64_t bytes = 0;
};

/// C = A·B, M x N tiles of 16 x 16, M·N at most 4. C is F32.
struct AmxProduct {
  const std::byte* a;
  int64_t a_stride, a_tile, a_step;  ///< bytes: between rows, tiles of rows, segments
  const std::byte* b;
  int64_t b_stride, b_tile, b_step;
  int64_t segments;
  float* c;
  int64_t c_stride;
  bool accumulate;
  LatentFetch* fetch;
};

template <int64_t M, int64_t N>
void amx_product(const AmxProduct& p) {
  const int64_t c_bytes = p.c_stride * 4;
  const auto c_tile = [&](int64_t i) {
    return p.c + i / N * kTileRows * p.c_stride + i % N * kTileRows;
  };
  unrolled<M * N>([&](auto i) {
    if (p.accumulate)
      tile_load<static_cast<int>(i)>(c_tile(i), c_bytes);
    else
      tile_zero<static_cast<int>(i)>();
  });
  for (int64_t s = 0; s < p.segments; ++s) {
    p.fetch->step();
    unrolled<N>([&](auto j) {
      tile_load<6 + static_cast<int>(j) % 2>(p.b + s * p.b_step + j * p.b_tile, p.b_stride);
      if constexpr (M == 1) {  // one tile of rows against many of columns
        if constexpr (j == 0) tile_load<4>(p.a + s * p.a_step, p.a_stride);
        tile_dpbf16<static_cast<int>(j), 4, 6 + static_cast<int>(j) % 2>();
      }
    });
    if constexpr (M > 1)
      unrolled<M>([&](auto i) {
        constexpr int kA = 4 + static_cast<int>(i) % 2;
        tile_load<kA>(p.a + s * p.a_step + i * p.a_tile, p.a_stride);
        unrolled<N>([&](auto j) {
          tile_dpbf16<static_cast<int>(i) * N + static_cast<int>(j), kA, 6 + static_cast<int>(j)>();
        });
      });
  }
  unrolled<M * N>([&](auto i) { tile_store<static_cast<int>(i)>(c_tile(i), c_bytes); });
}

/// Scores of `keys` keys, a multiple of 16, against N panels.
template <int64_t N>
void amx_scores(AmxProduct p, int64_t keys) {
  constexpr int64_t kMost = 4 / N;
  const auto advance = [&](int64_t tiles) {
    p.a += tiles * p.a_tile;
    p.c += tiles * kTileRows * p.c_stride;
  };
  for (; keys >= kMost * kTileRows; keys -= kMost * kTileRows) {
    amx_product<kMost, N>(p);
    advance(kMost);
  }
  for (; keys > 0; keys -= kTileRows) {
    amx_product<1, N>(p);
    advance(1);
  }
}

inline void amx_score_rows(const LatentTile& t, const AmxSpace& space, const std::byte* rows,
                           int64_t row_bytes, int64_t at, int64_t keys) {
  const int64_t segments = (t.latent + t.rope) / kAmxSegment, panel_bytes = segments * kTileBytes;
  for (int64_t p = 0; p < t.pairs;) {
    const bool two = p + kLanes < t.pairs;
    const AmxProduct product{rows,
                             row_bytes,
                             kTileRows * row_bytes,
                             kTileRowBytes,
                             t.q + p / kLanes * panel_bytes,
                             kTileRowBytes,
                             panel_bytes,
                             kTileBytes,
                             segments,
                             space.softmax.scores_KP + at * space.softmax.stride + p,
                             space.softmax.stride,
                             false,
                             t.fetch};
    if (two)
      amx_scores<2>(product, keys);
    else
      amx_scores<1>(product, keys);
    p += two ? 2 * kLanes : kLanes;
  }
}

inline void amx_score_panels(const LatentTile& t, const AmxSpace& space) {
  int64_t at = 0;
  for (const LatentRun* run = t.runs; at < t.keys; ++run) {
    const int64_t whole = run->keys / kTileRows * kTileRows, left = run->keys - whole;
    amx_score_rows(t, space, run->rows, t.row_bytes, at, whole);
    if (left > 0) {
      const int64_t bytes = (t.latent + t.rope) * 2;
      std::memset(space.last_rows, 0, static_cast<size_t>(kTileRows * bytes));
      for (int64_t r = 0; r < left; ++r)
        std::memcpy(space.last_rows + r * bytes, run->rows + (whole + r) * t.row_bytes,
                    static_cast<size_t>(bytes));
      amx_score_rows(t, space, space.last_rows, bytes, at + whole, kTileRows);
    }
    at += run->keys;
  }
}

/// Weights of one panel from words [keys / 2][pairs] to rows [pairs][keys], zeros after `keys`.
inline void amx_weight_rows(const AmxSpace& space, int64_t pair, int64_t keys) {
  const int64_t words = (keys + 1) / 2, word_bytes = space.softmax.stride * 4;
  for (int64_t w = 0; w < words; w += kLanes) {
    VecU square[kLanes];
    for (int64_t l = 0; l < kLanes; ++l)
      square[l] = w + l < words ? bit_cast_vec<VecU>(load_words(space.softmax.weights + pair * 4 +
                                                                (w + l) * word_bytes))
                                : VecU{};
    transpose(square);
    for (int64_t l = 0; l < kLanes; ++l)
      std::memcpy(space.weights_PK + (pair + l) * AmxSpace::kWeightRowBytes + w * 4, &square[l],
                  sizeof square[l]);
  }
}

inline void interleave(const std::byte* even, const std::byte* odd, int64_t columns,
                       std::byte* to) {
  for (int64_t c = 0; c < columns; c += kLanes) {
    const auto* x = reinterpret_cast<const BF16*>(even) + c;
    const auto* y = reinterpret_cast<const BF16*>(odd) + c;
    const VecU low = extend(load_bits<VecH>(x, Full{}));
    const VecU words = odd ? low | (extend(load_bits<VecH>(y, Full{})) << 16) : low;
    std::memcpy(to + c * 4, &words, sizeof words);
  }
}

/// Interleaves keys [begin, end), begin a multiple of a segment; zeros up to a whole segment.
inline void amx_interleave(const LatentTile& t, const AmxSpace& space, int64_t begin, int64_t end) {
  const int64_t word_bytes = t.latent * 4;
  std::byte* to = space.keys_KC + begin / 2 * word_bytes;
  const LatentRun* run = t.runs;
  int64_t first = 0;  // key of the run
  for (int64_t k = begin; k < end; k += 2, to += word_bytes) {
    while (k - first >= run->keys) first += run++->keys;
    const std::byte* row = run->rows + (k - first) * t.row_bytes;
    interleave(row, k + 1 < end ? row + t.row_bytes : nullptr, t.latent, to);
  }
  const int64_t words = (kAmxSegment - end % kAmxSegment) % kAmxSegment / 2;
  std::memset(to, 0, static_cast<size_t>(words * word_bytes));
}

/// Rows [0, rows) of 16 x 16·N results through a copy: the other rows are other pairs'.
template <int64_t N>
void amx_corner(AmxProduct p, int64_t rows) {
  alignas(64) float whole[kTileRows * N * kTileRows] = {};
  constexpr size_t kBytes = N * kTileRows * sizeof(float);
  float* c = p.c;
  const int64_t stride = p.c_stride;
  if (p.accumulate)
    for (int64_t r = 0; r < rows; ++r)
      std::memcpy(whole + r * N * kTileRows, c + r * stride, kBytes);
  p.c = whole;
  p.c_stride = N * kTileRows;
  amx_product<1, N>(p);
  for (int64_t r = 0; r < rows; ++r) std::memcpy(c + r * stride, whole + r * N * kTileRows, kBytes);
}

template <int64_t N>
int64_t amx_value_rows(const AmxProduct& p, int64_t pairs) {
  if (pairs < kTileRows) {
    amx_corner<N>(p, pairs);
    return pairs;
  }
  if constexpr (N <= 2) {
    if (pairs >= 2 * kTileRows) {
      amx_product<2, N>(p);
      return 2 * kTileRows;
    }
  }
  amx_product<1, N>(p);
  return kTileRows;
}

inline void amx_value_block(const LatentTile& t, const AmxSpace& space, int64_t pair, int64_t pairs,
                            int64_t keys) {
  const int64_t word_bytes = t.latent * 4, segments = (keys + kAmxSegment - 1) / kAmxSegment;
  const bool wide = pairs <= kTileRows;
  for (int64_t c = 0, n; c < t.latent; c += n) {
    n = wide && c + 2 * kAmxLatentStep <= t.latent ? 2 * kAmxLatentStep : kAmxLatentStep;
    for (int64_t p = 0; p < pairs;) {
      const AmxProduct product{space.weights_PK + (pair + p) * AmxSpace::kWeightRowBytes,
                               AmxSpace::kWeightRowBytes,
                               kTileRows * AmxSpace::kWeightRowBytes,
                               kTileRowBytes,
                               space.keys_KC + c * 4,
                               word_bytes,
                               kTileRowBytes,
                               kTileRows * word_bytes,
                               segments,
                               t.state.acc.row(pair + p) + c,
                               t.state.acc.stride,
                               !t.first,
                               t.fetch};
      p += n == kAmxLatentStep ? amx_value_rows<2>(product, pairs - p)
                               : amx_value_rows<4>(product, pairs - p);
    }
  }
}

/// About how often the products of a tile call LatentFetch::step: four tiles each.
inline int64_t amx_fetch_steps(const LatentTile& t) {
  const int64_t panels = (t.pairs + kLanes - 1) / kLanes;
  const int64_t score_segments = (t.latent + t.rope) / kAmxSegment;
  const int64_t value_segments = (t.keys + kAmxSegment - 1) / kAmxSegment;
  const int64_t products = (t.keys + kTileRows - 1) / kTileRows * panels * score_segments +
                           t.latent / kTileRows * panels * value_segments;
  return (products + 3) / 4;
}

inline size_t amx_space_bytes(int64_t pairs, int64_t width) {
  return static_cast<size_t>(AmxSpace(nullptr, pairs, width).bytes);
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
