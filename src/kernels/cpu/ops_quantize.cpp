#include "kernels/cpu/vec_quantize.h"
#include "numerics/e5m2.h"

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

/// From the amax of each column to the inverse scale of each column.
void scale_columns(float* v, float* scale, bool power_of_two, int64_t cols, float max) {
  for_vectors(cols, [&](int64_t c, auto part) {
    const TileScale<VecF> s = tile_scale(load(v + c, part), power_of_two, max);
    store(scale + c, s.scale, part);
    store(v + c, s.inverse, part);
  });
}
void scale_blocks(float* v, float* scale, bool power_of_two, int64_t cols, float max) {
  for (int64_t begin = 0; begin < cols; begin += kTileSize) {
    const int64_t n = cols - begin < kTileSize ? cols - begin : kTileSize;
    VecF amax = {};
    for_vectors(n, [&](int64_t i, auto part) { amax = max_vec(load(v + begin + i, part), amax); });
    const TileScale<float> s = tile_scale(max_lane(amax), power_of_two, max);
    scale[begin / kTileSize] = s.scale;
    for_vectors(n, [&](int64_t i, auto part) { store(v + begin + i, splat(s.inverse), part); });
  }
}

/// Columns that a strip of 128 rows is quantized at a time: runs long enough for memory, a strip
/// short enough for the second pass over it to be from cache.
constexpr int64_t kStripCols = 512;
/// Elements of a cache line, at most.
constexpr int64_t kPrefetched = 32;

/// v[c] = the largest magnitude of column col + c over at most 128 rows, whose results will go to
/// `to`, `stride` elements a row.
template <class X, class To>
void amax_of_columns(const X& x, int64_t row, int64_t col, int64_t rows, int64_t cols, const To* to,
                     int64_t stride, float* v) {
  constexpr int64_t kAhead = 4;  // rows prefetched: hardware does not foresee the end of a run
  constexpr int64_t kAtOnce = 4;
  for (int64_t r = 0; r < rows; r += kAtOnce) {
    // Past the end the last row counts again.
    const auto clamped = [&](int64_t i) { return i < rows ? i : rows - 1; };
    decltype(x.row(row)) from[kAtOnce], ahead[kAtOnce];
    for (int64_t i = 0; i < kAtOnce; ++i) {
      from[i] = x.row(row + clamped(r + i));
      ahead[i] = x.row(row + clamped(r + kAhead + i));
    }
    for_vectors(cols, [&](int64_t c, auto part) {
      VecF max = load(v + c, part);
      for (int64_t i = 0; i < kAtOnce; ++i) {
        if (c % kPrefetched == 0) {
          ahead[i].prefetch(col + c);
          __builtin_prefetch(to + clamped(r + i) * stride + c, 1);
        }
        max = max_vec(abs_vec(from[i].load_at(col + c, part)), max);
      }
      store(v + c, max, part);
    });
  }
}

/// At most 128 rows and kStripCols columns from (row, col) on, in tiles of 128x128 or 128x1.
template <class X>
void quantize_strip(const X& x, const ScaledCodes& q, int64_t row, int64_t col, bool power_of_two,
                    int64_t rows, int64_t cols) {
  float v[kStripCols] = {};
  amax_of_columns(x, row, col, rows, cols, q.codes + row * q.stride + col, q.stride, v);
  float* scale = q.scale + (q.first_row + row) / kTileSize * q.scale_stride + col / q.tile_cols;
  (q.tile_cols == 1 ? scale_columns : scale_blocks)(v, scale, power_of_two, cols, kE4M3Max);
  for (int64_t r = 0; r < rows; ++r) {
    const auto from = x.row(row + r);
    E4M3* codes = q.codes + (row + r) * q.stride + col;
    for_vectors(cols, [&](int64_t c, auto part) {
      store(codes + c, from.load_at(col + c, part) * load(v + c, part), part);
    });
  }
}

void quantize(const Source& source, const ScaledCodes& q, bool power_of_two, int64_t rows,
              int64_t cols) {
  const auto at_most_of = [](int64_t n, int64_t limit) { return n < limit ? n : limit; };
  with_source(source, [&](auto x) {
    if (q.tile_rows == 1) return quantize_rows(x, q, power_of_two, rows, cols);
    for (int64_t r = 0; r < rows; r += kTileSize)
      for (int64_t c = 0; c < cols; c += kStripCols)
        quantize_strip(x, q, r, c, power_of_two, at_most_of(rows - r, kTileSize),
                       at_most_of(cols - c, kStripCols));
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

struct RoundE4M3 {
  static constexpr int kMantissa = 3, kLeastExponent = -6;
  static constexpr float kMax = kE4M3Max;
};
struct RoundE5M2 {
  static constexpr int kMantissa = 2, kLeastExponent = -14;
  static constexpr float kMax = kE5M2Max;
};

/// |x| <= kMax to the nearest value of the format, ties to even: added to 2^23 units of its last
/// place, x loses what is below one.
template <class Format>
VecF to_format(VecF x) {
  constexpr uint32_t kLeast = static_cast<uint32_t>(127 + Format::kLeastExponent) << 23;
  const VecU u = bit_cast_vec<VecU>(x), sign = u & 0x80000000u;
  VecU exponent = u & 0x7f800000u;
  exponent = exponent < VecU{} + kLeast ? VecU{} + kLeast : exponent;
  const VecF big = bit_cast_vec<VecF>(exponent + (uint32_t{23 - Format::kMantissa} << 23));
  const VecF magnitude = (abs_vec(x) + big) - big;
  return bit_cast_vec<VecF>(bit_cast_vec<VecU>(magnitude) | sign);
}

/// The least scale whose multiples of the least magnitude of either format are not subnormal.
constexpr float kLeastNormalScale = 0x1p-109f;

/// y = x rounded to Format in units of 1 / inverse. normal: no result is subnormal.
template <class Format, class Y, class Part>
void store_rounded(Y* y, VecF x, VecF inverse, VecF scale, Part part, bool normal) {
  const VecF value = to_format<Format>(x * inverse) * scale;
  normal ? store_flushed(y, value, part) : store(y, value, part);
}

template <class Row>
[[gnu::always_inline]] inline float amax_of_tile(const Row& row, int64_t begin, int64_t n) {
  VecF max = {};
  for_vectors(
      n, [&](int64_t i, auto part) { max = max_vec(abs_vec(row.load_at(begin + i, part)), max); });
  return max_lane(max);
}

template <class Format, class Row, class Y>
[[gnu::always_inline]] inline void round_tile(const Row& row, int64_t begin, int64_t n,
                                              float inverse, float scale, Y* y) {
  const auto store_all = [&](bool normal) {
    for_vectors(n, [&](int64_t i, auto part) {
      store_rounded<Format>(y + i, row.load_at(begin + i, part), splat(inverse), splat(scale), part,
                            normal);
    });
  };
  scale >= kLeastNormalScale ? store_all(true) : store_all(false);
}

/// 1x128. The scales of a vector of tiles first: a tile alone would wait for its own.
template <class Format, class X, class Y>
void round_rows(const X& x, Y* y, int64_t stride, bool power_of_two, int64_t rows, int64_t cols) {
  const int64_t across = (cols + kTileSize - 1) / kTileSize;
  const auto for_tiles = [&](int64_t first, auto body) {
    int64_t r = first / across, begin = first % across * kTileSize;
    for (int64_t i = 0; i < kLanes && r < rows; ++i) {
      if (begin + kTileSize <= cols)
        body(i, r, begin, kTileSize);
      else
        body(i, r, begin, cols - begin);
      begin += kTileSize;
      if (begin >= cols) ++r, begin = 0;
    }
  };
  for (int64_t first = 0; first < rows * across; first += kLanes) {
    float scale[kLanes] = {}, inverse[kLanes];
    for_tiles(first, [&](int64_t i, int64_t r, int64_t begin, int64_t n) {
      scale[i] = amax_of_tile(x.row(r), begin, n);
    });
    const TileScale<VecF> s = tile_scale(load(scale, Full{}), power_of_two, Format::kMax);
    store(scale, s.scale, Full{});
    store(inverse, s.inverse, Full{});
    for_tiles(first, [&](int64_t i, int64_t r, int64_t begin, int64_t n) {
      round_tile<Format>(x.row(r), begin, n, inverse[i], scale[i], y + r * stride + begin);
    });
  }
}

/// 128x1 and 128x128.
template <class Format, class X, class Y>
void round_strip(const X& x, Y* y, int64_t stride, const RoundingTile& tile, int64_t row,
                 int64_t col, int64_t rows, int64_t cols) {
  float v[kStripCols] = {}, per_block[kStripCols / kTileSize], scale[kStripCols];
  Y* to = y + row * stride + col;
  amax_of_columns(x, row, col, rows, cols, to, stride, v);
  if (tile.cols == 1) {
    scale_columns(v, scale, tile.power_of_two, cols, Format::kMax);
  } else {
    scale_blocks(v, per_block, tile.power_of_two, cols, Format::kMax);
    for (int64_t c = 0; c < cols; ++c) scale[c] = per_block[c / kTileSize];
  }
  bool normal = true;
  for (int64_t c = 0; c < cols; ++c) normal &= scale[c] >= kLeastNormalScale;
  for (int64_t r = 0; r < rows; ++r, to += stride) {
    const auto from = x.row(row + r);
    for_vectors(cols, [&](int64_t c, auto part) {
      store_rounded<Format>(to + c, from.load_at(col + c, part), load(v + c, part),
                            load(scale + c, part), part, normal);
    });
  }
}

template <class Format, class X, class Y>
void round_all(const X& x, Y* y, int64_t stride, const RoundingTile& tile, int64_t rows,
               int64_t cols) {
  const TileScale<float> s = tile_scale(tile.amax, tile.power_of_two, Format::kMax);
  for (int64_t r = 0; r < rows; ++r) {
    const auto from = x.row(r);
    for_vectors(cols, [&](int64_t c, auto part) {
      store(y + r * stride + c, to_format<Format>(from.load_at(c, part) * s.inverse) * s.scale,
            part);
    });
  }
}

template <class Format>
void round_as(const Source& source, MutableRows y, const RoundingTile& tile, int64_t rows,
              int64_t cols) {
  const auto at_most_of = [](int64_t n, int64_t limit) { return n < limit ? n : limit; };
  with_source(source, [&](auto x) {
    with_type(y.bf16, [&](auto t) {
      auto* to = static_cast<decltype(t)*>(y.data);
      if (tile.rows == 0) return round_all<Format>(x, to, y.stride, tile, rows, cols);
      if (tile.rows == 1) return round_rows<Format>(x, to, y.stride, tile.power_of_two, rows, cols);
      for (int64_t r = 0; r < rows; r += kTileSize)
        for (int64_t c = 0; c < cols; c += kStripCols)
          round_strip<Format>(x, to, y.stride, tile, r, c, at_most_of(rows - r, kTileSize),
                              at_most_of(cols - c, kStripCols));
    });
  });
}

void round(const Source& x, MutableRows y, const RoundingTile& tile, int64_t rows, int64_t cols) {
  (tile.e5m2 ? round_as<RoundE5M2> : round_as<RoundE4M3>)(x, y, tile, rows, cols);
}

float amax(const Source& source, int64_t rows, int64_t cols) {
  VecF max = {};
  with_source(source, [&](auto x) {
    for (int64_t r = 0; r < rows; ++r) {
      const auto from = x.row(r);
      for_vectors(
          cols, [&](int64_t c, auto part) { max = max_vec(abs_vec(from.load_at(c, part)), max); });
    }
  });
  return max_lane(max);
}

/// The power of two 2^(e − bits + 1) for max in [2^e, 2^(e+1)): what is left of numbers aligned to
/// max and cut off after `bits` bits are multiples of it. Limited where F32 ends.
VecF grid_of(VecF max, int bits) {
  VecU exponent = bit_cast_vec<VecU>(max) & 0x7f800000u;
  exponent = exponent < VecU{} + (24u << 23) ? VecU{} + (24u << 23) : exponent;
  return bit_cast_vec<VecF>(exponent - (static_cast<uint32_t>(bits - 1) << 23));
}

/// x in units of 1 / inverse, towards zero: below 2^16.
VecU truncated(VecF x, VecF inverse) {
  using VecI = int32_t __attribute__((vector_size(kVectorBytes)));
  return bit_cast_vec<VecU>(__builtin_convertvector(x * inverse, VecI));
}
VecF from_integer(VecU i) {
  using VecI = int32_t __attribute__((vector_size(kVectorBytes)));
  return __builtin_convertvector(bit_cast_vec<VecI>(i), VecF);
}

/// acc + Σ product, all aligned to the greatest of them (the integers sum exactly: fewer than 24
/// bits); of the result the first `bits` bits.
VecF accumulate(VecF acc, const VecF* product, int n, int bits) {
  VecF max = abs_vec(acc);
  for (int i = 0; i < n; ++i) max = max_vec(abs_vec(product[i]), max);
  const VecF grid = grid_of(max, bits), inverse = 1.0f / grid;
  VecU sum = truncated(acc, inverse);
  for (int i = 0; i < n; ++i) sum += truncated(product[i], inverse);
  const uint32_t dropped = (1u << (24 - bits)) - 1;
  return bit_cast_vec<VecF>(bit_cast_vec<VecU>(from_integer(sum) * grid) & ~dropped);
}

/// One vector of columns.
VecF emulated_columns(const EmulatedUnit& unit, const float* a, const float* a_scale,
                      const float* b, const float* b_scale, int64_t depth) {
  const bool scale_products = unit.promotion > unit.block;
  constexpr int kMaxGroup = 128;
  VecF total = {}, acc = {}, product[kMaxGroup];
  for (int64_t k = 0; k < depth; k += unit.group) {
    const int64_t block = k / unit.block;
    const VecF scale = load(b_scale + block * kEmulatedPanel, Full{}) * a_scale[block];
    const int n = static_cast<int>(depth - k < unit.group ? depth - k : unit.group);
    for (int i = 0; i < n; ++i) {
      product[i] = load(b + (k + i) * kEmulatedPanel, Full{}) * a[k + i];
      if (scale_products) product[i] *= scale;
    }
    acc = accumulate(acc, product, n, unit.bits);
    const int64_t next = k + unit.group;
    if (next % unit.promotion == 0 || next >= depth) {
      total += scale_products ? acc : acc * scale;
      acc = VecF{};
    }
  }
  return total;
}

void emulated_dot(const EmulatedUnit& unit, const float* a, const float* a_scale, const float* b,
                  const float* b_scale, int64_t depth, float* out) {
  for (int64_t j = 0; j < kEmulatedPanel; j += kLanes)
    store(out + j, emulated_columns(unit, a, a_scale, b + j, b_scale + j, depth), Full{});
}

}  // namespace

const QuantizeOps kQuantizeOps = {decode,     decode_bf16, encode, quantize,
                                  dequantize, round,       amax,   emulated_dot};

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
