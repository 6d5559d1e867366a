#include "kernels/cpu/vec_quantize.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

void decode(const E4M3* codes, float scale, float* y, int64_t n) {
  const VecF factor = decode_factor(scale);
  for_vectors(n, [&](int64_t i, auto part) {
    store(y + i, decode_e4m3(load_bits<VecQ>(codes + i, part), factor), part);
  });
}

void decode_bf16(const E4M3* codes, float scale, BF16* y, int64_t n) {
  const E4M3ToBF16 to = e4m3_to_bf16(scale);
  int64_t i = 0;
  for (; i + kVectorBytes <= n; i += kVectorBytes) {
    const TwoVecW words = decode_words(load_bits<VecB>(codes + i, Full{}), to);
    __builtin_memcpy(y + i, &words, sizeof words);
  }
  for (int64_t count = 0; i < n; i += count) {
    count = n - i < kVectorBytes / 2 ? n - i : kVectorBytes / 2;
    const VecW words = decode_words(load_bits<HalfB>(codes + i, Tail{count}), to);
    __builtin_memcpy(y + i, &words, static_cast<size_t>(count) * sizeof(BF16));
  }
}

void encode(const float* x, E4M3* codes, bool saturate, int64_t n) {
  for_vectors(n, [&](int64_t i, auto part) {
    const VecF v = load(x + i, part);
    const VecQ q = saturate ? encode_e4m3<true>(v) : encode_e4m3<false>(v);
    store_codes(codes + i, q, part);
  });
}

/// 1x128.
template <class X>
void quantize_rows(const X& x, const ScaledCodes& q, bool power_of_two, int64_t rows,
                   int64_t cols) {
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = x.row(r);
    quantize_row(cols, power_of_two, q.codes + r * q.stride,
                 q.scale + (q.first_row + r) * q.scale_stride,
                 [&](int64_t c, auto part) { return row.load_at(c, part); });
  }
}

/// One block of at most 128x128: its amax, then, from cache, its codes.
template <class X>
float quantize_block(const X& x, E4M3* codes, int64_t stride, bool power_of_two, int64_t rows,
                     int64_t begin, int64_t cols) {
  VecF max = {};
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = x.row(r);
    for_vectors(cols, [&](int64_t i, auto part) {
      max = max_vec(abs_vec(row.load_at(begin + i, part)), max);
    });
  }
  const TileScale<float> s = tile_scale(max_lane(max), power_of_two);
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = x.row(r);
    for_vectors(cols, [&](int64_t i, auto part) {
      store(codes + r * stride + i, row.load_at(begin + i, part) * s.inverse, part);
    });
  }
  return s.scale;
}

/// kVectors vectors of columns of at most 128 rows, likewise: as many as fill cache lines.
template <int kVectors, class X, class Part>
void quantize_columns(const X& x, E4M3* codes, int64_t stride, float* scale, bool power_of_two,
                      int64_t rows, int64_t begin, Part part) {
  VecF v[kVectors] = {};  // amax, then the inverse scale
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = x.row(r);
    for (int i = 0; i < kVectors; ++i)
      v[i] = max_vec(abs_vec(row.load_at(begin + i * kLanes, part)), v[i]);
  }
  for (int i = 0; i < kVectors; ++i) {
    const TileScale<VecF> s = tile_scale(v[i], power_of_two);
    store(scale + i * kLanes, s.scale, part);
    v[i] = s.inverse;
  }
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = x.row(r);
    for (int i = 0; i < kVectors; ++i)
      store(codes + r * stride + i * kLanes, row.load_at(begin + i * kLanes, part) * v[i], part);
  }
}

/// A strip of at most 128 rows, in tiles of 128x128 or 128x1.
template <class X>
void quantize_strip(const X& x, const ScaledCodes& q, int64_t row, bool power_of_two, int64_t rows,
                    int64_t cols) {
  E4M3* codes = q.codes + row * q.stride;
  float* scale = q.scale + (q.first_row + row) / kTileSize * q.scale_stride;
  if (q.tile_cols == 1) {
    constexpr int kVectors = 4;
    int64_t c = 0;
    for (; c + kVectors * kLanes <= cols; c += kVectors * kLanes)
      quantize_columns<kVectors>(x, codes + c, q.stride, scale + c, power_of_two, rows, c, Full{});
    for_vectors(cols - c, [&](int64_t i, auto part) {
      const int64_t at = c + i;
      quantize_columns<1>(x, codes + at, q.stride, scale + at, power_of_two, rows, at, part);
    });
    return;
  }
  for (int64_t c = 0; c < cols; c += kTileSize) {
    const int64_t n = cols - c < kTileSize ? cols - c : kTileSize;
    scale[c / kTileSize] = quantize_block(x, codes + c, q.stride, power_of_two, rows, c, n);
  }
}

/// x from row r on.
CodeRows rows_from(CodeRows x, int64_t r) {
  x.q.codes += r * x.q.stride;
  x.q.first_row += r;
  return x;
}
template <class T>
FloatRows<T> rows_from(FloatRows<T> x, int64_t r) {
  return {x.data + r * x.stride, x.stride};
}

void quantize(const Source& source, const ScaledCodes& q, bool power_of_two, int64_t rows,
              int64_t cols) {
  with_source(source, [&](auto x) {
    if (q.tile_rows == 1) return quantize_rows(x, q, power_of_two, rows, cols);
    for (int64_t r = 0; r < rows; r += kTileSize)
      quantize_strip(rows_from(x, r), q, r, power_of_two,
                     rows - r < kTileSize ? rows - r : kTileSize, cols);
  });
}

void dequantize(const ScaledCodes& q, MutableRows y, int64_t rows, int64_t cols) {
  with_type(y.bf16, [&](auto t) {
    for (int64_t r = 0; r < rows; ++r) {
      const CodeRows::Row row = CodeRows{q}.row(r);
      auto* out = static_cast<decltype(t)*>(y.data) + r * y.stride;
      for_vectors(cols, [&](int64_t c, auto part) { store(out + c, row.load_at(c, part), part); });
    }
  });
}

}  // namespace

const QuantizeOps kQuantizeOps = {decode, decode_bf16, encode, quantize, dequantize};

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
