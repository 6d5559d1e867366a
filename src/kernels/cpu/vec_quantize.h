#pragma once

#include "kernels/cpu/ops_table.h"
#include "kernels/cpu/vec_e4m3.h"

// Online scales of tiles (kernels/quantize.h): shared by quantization and the operators it is fused
// into.

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

constexpr int64_t kTileSize = 128;

inline VecF abs_vec(VecF x) {
  return bit_cast_vec<VecF>(bit_cast_vec<VecU>(x) & 0x7fffffffu);
}
/// The greater of each lane; max's where x is NaN.
inline VecF max_vec(VecF x, VecF max) {
#if defined(__AVX512F__)
  return _mm512_maskz_max_ps(0xffff, x, max);
#elif defined(__AVX2__)
  return _mm256_max_ps(x, max);
#else
  return x > max ? x : max;
#endif
}
inline float max_lane(VecF v) {
#if defined(__AVX2__)
  __m256 part[kVectorBytes / 32];
  __builtin_memcpy(part, &v, sizeof v);
  const __m256 m = kVectorBytes == 64 ? _mm256_max_ps(part[0], part[kVectorBytes / 64]) : part[0];
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
#else
  return reduce_max(v);
#endif
}

/// A tile's scale and what its values are multiplied by. max: the format's largest magnitude.
template <class T>
struct TileScale {
  T scale, inverse;
};

inline TileScale<float> tile_scale(float amax, bool power_of_two, float max = kE4M3Max) {
  const float least = max * (kE4M3LeastAmax / kE4M3Max);
  amax = amax > least ? amax : least;
  const float exact = amax / max;
  if (!power_of_two) return {exact, max / amax};
  uint32_t u;
  __builtin_memcpy(&u, &exact, sizeof u);
  u = (u + 0x7fffffu) & 0x7f800000u;
  float scale;
  __builtin_memcpy(&scale, &u, sizeof u);
  return {scale, 1 / scale};
}

inline TileScale<VecF> tile_scale(VecF amax, bool power_of_two, float max = kE4M3Max) {
  amax = max_vec(amax, splat(max * (kE4M3LeastAmax / kE4M3Max)));
  const VecF exact = amax / max;
  if (!power_of_two) return {exact, max / amax};
  const VecU up = (bit_cast_vec<VecU>(exact) + 0x7fffffu) & 0x7f800000u;
  const VecF scale = bit_cast_vec<VecF>(up);
  return {scale, 1.0f / scale};
}

/// Quantizes n values of a row as up to kTilesAtOnce tiles: value(i, part) gives them, once each.
/// The scales first, the codes from a buffer: a tile alone would wait for its own scale (a third
/// slower).
constexpr int64_t kTilesAtOnce = 4;
template <class Value>
inline void quantize_tiles(int64_t n, bool power_of_two, E4M3* codes, float* scale, Value value) {
  float buffer[kTilesAtOnce * kTileSize], inverse[kTilesAtOnce];
  const auto count = [n](int64_t begin) { return n - begin < kTileSize ? n - begin : kTileSize; };
  for (int64_t begin = 0; begin < n; begin += kTileSize) {
    VecF max = {};
    for_vectors(count(begin), [&](int64_t i, auto part) {
      const VecF v = value(begin + i, part);
      store(buffer + begin + i, v, part);
      max = max_vec(abs_vec(v), max);
    });
    const TileScale<float> s = tile_scale(max_lane(max), power_of_two);
    scale[begin / kTileSize] = s.scale;
    inverse[begin / kTileSize] = s.inverse;
  }
  for (int64_t begin = 0; begin < n; begin += kTileSize) {
    const VecF factor = splat(inverse[begin / kTileSize]);
    for_vectors(count(begin), [&](int64_t i, auto part) {
      store(codes + begin + i, load(buffer + begin + i, part) * factor, part);
    });
  }
}

/// Quantizes a row in tiles of 128.
template <class Value>
inline void quantize_row(int64_t cols, bool power_of_two, E4M3* codes, float* scale, Value value) {
  constexpr int64_t kStep = kTilesAtOnce * kTileSize;
  for (int64_t c = 0; c < cols; c += kStep)
    quantize_tiles(cols - c < kStep ? cols - c : kStep, power_of_two, codes + c,
                   scale + c / kTileSize, [&](int64_t i, auto part) { return value(c + i, part); });
}

/// Row r of a quantized output.
template <class Value>
inline void quantize_row(const QuantizedRows& q, int64_t r, int64_t cols, Value value) {
  quantize_row(cols, q.power_of_two, q.codes.codes + r * q.codes.stride,
               q.codes.scale + (q.codes.first_row + r) * q.codes.scale_stride, value);
}

/// Rows of codes with scales, as a source of values. A vector of columns must not reach over two
/// tiles.
struct CodeRows {
  ScaledCodes q;

  struct Row {
    const E4M3* codes;
    const float* scale;
    bool scale_per_column;
    void prefetch(int64_t c) const { __builtin_prefetch(codes + c); }
    template <class Part>
    VecF load_at(int64_t c, Part part) const {
      const VecF factor = scale_per_column ? decode_factor(load(scale + c, part))
                                           : decode_factor(scale[c / kTileSize]);
      return decode_e4m3(load_bits<VecQ>(codes + c, part), factor);
    }
  };
  Row row(int64_t r) const {
    const int64_t scale_row = q.tile_rows == 1 ? q.first_row + r : (q.first_row + r) / kTileSize;
    return {q.codes + r * q.stride, q.scale + scale_row * q.scale_stride, q.tile_cols == 1};
  }
};

/// Rows of F32 or BF16, likewise.
template <class T>
struct FloatRows {
  const T* data;
  int64_t stride;

  struct Row {
    const T* data;
    void prefetch(int64_t c) const { __builtin_prefetch(data + c); }
    template <class Part>
    VecF load_at(int64_t c, Part part) const {
      return load(data + c, part);
    }
  };
  Row row(int64_t r) const { return {data + r * stride}; }
};

/// Calls f with FloatRows or CodeRows.
template <class F>
inline void with_source(const Source& x, F f) {
  if (x.codes.codes)
    f(CodeRows{x.codes});
  else if (x.rows.bf16)
    f(FloatRows<BF16>{static_cast<const BF16*>(x.rows.data), x.rows.stride});
  else
    f(FloatRows<float>{static_cast<const float*>(x.rows.data), x.rows.stride});
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
