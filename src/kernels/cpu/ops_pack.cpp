#include "kernels/cpu/vec_exp.h"
#include "kernels/cpu/vec_quantize.h"
#include "numerics/e5m6.h"

// Rows of formats that are not whole bytes: E5M6 (kernels/e5m6.h) and LogFMT (kernels/logfmt.h).

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

using VecI = int32_t __attribute__((vector_size(kVectorBytes)));

/// A group of 128 values, in F32; what a row lacks is zero.
struct Group {
  VecF v[kTileSize / kLanes];
};

template <class T>
Group load_group(const T* x, int64_t n) {
  Group g{};
  if (n >= kTileSize)
    for (int64_t i = 0; i < kTileSize; i += kLanes) g.v[i / kLanes] = load(x + i, Full{});
  else
    for_vectors(n, [&](int64_t i, auto part) { g.v[i / kLanes] = load(x + i, part); });
  return g;
}

template <class T>
void store_group(T* x, const Group& g, int64_t n) {
  for_vectors(n < kTileSize ? n : kTileSize,
              [&](int64_t i, auto part) { store(x + i, g.v[i / kLanes], part); });
}

/// body(group, data, n) for the groups of a row.
template <class T, class Body>
void for_groups(T* data, int64_t cols, Body body) {
  for (int64_t c = 0; c < cols; c += kTileSize) body(c / kTileSize, data + c, cols - c);
}

float amax_of(const Group& g) {
  VecF max = {};
  for (const VecF& v : g.v) max = max_vec(abs_vec(v), max);
  return max_lane(max);
}

uint32_t bits_of(float x) {
  uint32_t u;
  __builtin_memcpy(&u, &x, sizeof u);
  return u;
}
float float_of(uint32_t u) {
  float x;
  __builtin_memcpy(&x, &u, sizeof x);
  return x;
}

/// Keeps scale and inverse normal.
constexpr float kLeastE5M6Amax = kE5M6Max * 0x1p-120f;

/// The exponent of the scale, as UE8M0; 255 (NaN) for an infinite amax.
uint32_t e5m6_exponent(float amax) {
  amax = amax > kLeastE5M6Amax ? amax : kLeastE5M6Amax;
  return (bits_of(amax / kE5M6Max) + 0x7fffffu) >> 23;
}
float power_of(uint32_t exponent) {
  return exponent == 255 ? __builtin_nanf("") : float_of(exponent << 23);
}

/// The codes of to_e5m6, saturating, NaN as 0x7ff with its sign: as encode_e4m3 does it.
VecU encode_e5m6(VecF x) {
  const VecU sign = (bit_cast_vec<VecU>(x) >> 20) & 0x800u;
  const VecU u = bit_cast_vec<VecU>(at_most(kE5M6Max, abs_vec(x)));
  const VecU normal = ((u + (0xffffu + ((u >> 17) & 1))) >> 17) - (112u << 6);
  // The last place of 8 is the smallest subnormal, 2^-20.
  const VecU subnormal = bit_cast_vec<VecU>(bit_cast_vec<VecF>(u) + 8.0f) - bits_of(8.0f);
  const VecU code = u < VecU{} + (113u << 23) ? subnormal : normal;
  return sign | (code > 0x7ffu ? VecU{} + 0x7ffu : code);
}

/// Values of codes in the low twelve bits.
VecF decode_e5m6(VecU code) {
  const VecU magnitude = (code & 0x7ffu) << 17, sign = (code & 0x800u) << 20;
  const VecF normal = bit_cast_vec<VecF>(magnitude + (112u << 23));
  const VecF subnormal = bit_cast_vec<VecF>(magnitude + (113u << 23)) - 0x1p-14f;
  VecU u = bit_cast_vec<VecU>(magnitude < VecU{} + (1u << 23) ? subnormal : normal);
  u = magnitude >= VecU{} + (31u << 23) ? magnitude + (224u << 23) : u;  // infinity, NaN
  return bit_cast_vec<VecF>(u | sign);
}

void store_bytes(uint8_t* p, VecU u) {
  const VecQ q = truncate_codes(u);
  __builtin_memcpy(p, &q, sizeof q);
}
VecU load_bytes(const uint8_t* p) {
  return extend_codes(load_bits<VecQ>(p, Full{}));
}

constexpr int64_t kHalf = kTileSize / 2, kE5M6Bytes = kTileSize + kHalf;

void pack_e5m6_group(const Group& g, float inverse, uint8_t* out) {
  VecU code[kTileSize / kLanes];
  for (int64_t i = 0; i < kTileSize / kLanes; ++i) {
    code[i] = encode_e5m6(g.v[i] * inverse);
    store_bytes(out + i * kLanes, code[i] >> 4);
  }
  for (int64_t i = 0; i < kHalf / kLanes; ++i)
    store_bytes(out + kTileSize + i * kLanes, (code[i] & 15u) | (code[i + kHalf / kLanes] & 15u)
                                                                    << 4);
}

Group unpack_e5m6_group(const uint8_t* in, float scale) {
  Group g;
  for (int64_t i = 0; i < kHalf; i += kLanes) {
    const VecU low = load_bytes(in + kTileSize + i);
    g.v[i / kLanes] = decode_e5m6(load_bytes(in + i) << 4 | (low & 15u)) * scale;
    g.v[(i + kHalf) / kLanes] = decode_e5m6(load_bytes(in + kHalf + i) << 4 | low >> 4) * scale;
  }
  return g;
}

void e5m6_pack(Rows x, uint8_t* packed, uint8_t* scale, int64_t cols) {
  with_type(x.bf16, [&](auto t) {
    for_groups(static_cast<const decltype(t)*>(x.data), cols,
               [&](int64_t i, const auto* data, int64_t n) {
                 const Group g = load_group(data, n);
                 const uint32_t exponent = e5m6_exponent(amax_of(g));
                 pack_e5m6_group(g, 1 / power_of(exponent), packed + i * kE5M6Bytes);
                 scale[i] = static_cast<uint8_t>(exponent);
               });
  });
}

void e5m6_unpack(const uint8_t* packed, const uint8_t* scale, MutableRows x, int64_t cols) {
  with_type(x.bf16, [&](auto t) {
    for_groups(static_cast<decltype(t)*>(x.data), cols, [&](int64_t i, auto* data, int64_t n) {
      store_group(data, unpack_e5m6_group(packed + i * kE5M6Bytes, power_of(scale[i])), n);
    });
  });
}

/// log2 of normal x > 0 within 2^-20 absolutely plus 2^-23 relatively (tested through
/// logfmt_encode). x = 2^n·m, m in [√½, √2): log m = 2·atanh(s), s = (m − 1) / (m + 1), |s| <=
/// 0.172; the series is cut off where its terms are below 2^-27.
VecF log2_vec(VecF x) {
  const VecU u = bit_cast_vec<VecU>(x) - 0x3f3504f3u;  // √½
  const VecU exponent = u & 0xff800000u;
  const VecF m = bit_cast_vec<VecF>(bit_cast_vec<VecU>(x) - exponent);
  // The exponent is a signed multiple of 2^23: as an integer below 2^31 it converts exactly.
  const VecF n = __builtin_convertvector(bit_cast_vec<VecI>(exponent), VecF) * 0x1p-23f;
  const VecF s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
  const VecF series =
      ((s2 * 0.111111111f + 0.142857143f) * s2 + 0.2f) * s2 * s2 + s2 * 0.333333333f;
  return n + (s + s * series) * 2.88539008f;  // 2 / ln 2
}

/// 2^x within 2 units in the last place; x beyond ±126 counts as ±126.
VecF exp2_vec(VecF x) {
  x = at_most(126.0f, at_least(-126.0f, x));
  const VecF shifted = x + 0x1.8p23f;
  const ReducedExp e = reduced_exp((x - (shifted - 0x1.8p23f)) * 0.693147181f);
  const VecU n = bit_cast_vec<VecU>(shifted) + bit_cast_vec<VecU>(e.shifted);
  return e.p * bit_cast_vec<VecF>((n << 23) + 0x3f800000u);
}

/// logfmt_grid of numerics/logfmt.h, without what only encoding needs.
struct Grid {
  float min_log2, step;
};

Grid grid_of(int bits, float amax, float amin) {
  if (amax == 0) return {};
  const float max_log2 = __builtin_log2f(amax);
  const float low = __builtin_log2f(amin), limit = max_log2 - 32;
  const float min_log2 = low > limit ? low : limit;
  return {min_log2, (max_log2 - min_log2) / static_cast<float>((1 << (bits - 1)) - 2)};
}

struct EncodingGrid {
  float min_log2, inverse_step, offset;
};

EncodingGrid encoding_grid_of(const Grid& grid) {
  const float step = grid.step;
  if (step == 0) return {grid.min_log2, 0, 1};  // one magnitude: every code is 1
  const float boundary = __builtin_log2f((1 + __builtin_exp2f(step)) / 2) / step;
  return {grid.min_log2, 1 / step, 2 - boundary};
}

/// The least magnitude of n values; of those that are not zero unless zeros count.
float amin_of(const Group& g, bool zeros_count, int64_t n) {
  if (zeros_count) {  // but not those that fill the group
    float x[kTileSize], min = __builtin_inff();
    __builtin_memcpy(x, g.v, sizeof x);
    for (int64_t i = 0; i < n && i < kTileSize; ++i)
      min = __builtin_fminf(__builtin_fabsf(x[i]), min);
    return min;
  }
  VecF min = splat(__builtin_inff());
  for (const VecF& v : g.v) {
    const VecF x = abs_vec(v);
    min = x > 0.0f && x < min ? x : min;
  }
  const float least = reduce(min, [](float a, float b) { return a < b ? a : b; });
  return least < __builtin_inff() ? least : 0;
}

/// Magnitudes of the codes.
VecU encode_logfmt(const EncodingGrid& grid, int bits, VecF x) {
  const VecF magnitude = abs_vec(x);
  const VecF k = (log2_vec(magnitude) - grid.min_log2) * grid.inverse_step + grid.offset;
  const VecF limited = at_most(static_cast<float>((1 << (bits - 1)) - 1), at_least(0.0f, k));
  const VecU code = bit_cast_vec<VecU>(__builtin_convertvector(limited, VecI));
  return magnitude >= 0x1p-126f ? code : VecU{};
}

VecF decode_logfmt(const Grid& grid, VecU magnitude, VecU negative) {
  const VecF k = __builtin_convertvector(bit_cast_vec<VecI>(magnitude), VecF) - 1.0f;
  const VecF x = exp2_vec(k * grid.step + grid.min_log2);
  return magnitude > 0u ? bit_cast_vec<VecF>(bit_cast_vec<VecU>(x) | negative << 31) : VecF{};
}

/// Sixteen ten-bit codes, magnitude and sign apart, to 20 bytes and back (numerics/logfmt.h's
/// pack_logfmt10). Magnitudes are gathered by four: 36 bits.
uint64_t gather_four(const uint16_t* magnitude) {
  uint64_t x;
  __builtin_memcpy(&x, magnitude, sizeof x);
  x = (x & 0x000001ff000001ff) | (x >> 7 & 0x0003fe000003fe00);
  return (x & 0x3ffff) | (x >> 14 & 0xffffc0000);
}
void scatter_four(uint64_t x, uint16_t* magnitude) {
  x = (x & 0x3ffff) | (x & 0xffffc0000) << 14;
  x = (x & 0x000001ff000001ff) | (x & 0x0003fe000003fe00) << 7;
  __builtin_memcpy(magnitude, &x, sizeof x);
}

void pack_ten_bits(const uint16_t* magnitude, uint32_t signs, uint8_t* out) {
  const uint64_t a = gather_four(magnitude), b = gather_four(magnitude + 4);
  const uint64_t c = gather_four(magnitude + 8), d = gather_four(magnitude + 12);
  const uint64_t words[2] = {a | b << 36, b >> 28 | c << 8 | d << 44};
  const uint32_t last = static_cast<uint32_t>(d >> 20) | signs << 16;
  __builtin_memcpy(out, words, sizeof words);
  __builtin_memcpy(out + sizeof words, &last, sizeof last);
}

uint32_t unpack_ten_bits(const uint8_t* in, uint16_t* magnitude) {
  uint64_t words[2];
  uint32_t last;
  __builtin_memcpy(words, in, sizeof words);
  __builtin_memcpy(&last, in + sizeof words, sizeof last);
  scatter_four(words[0], magnitude);
  scatter_four(words[0] >> 36 | words[1] << 28, magnitude + 4);
  scatter_four(words[1] >> 8, magnitude + 8);
  scatter_four(words[1] >> 44 | uint64_t{last & 0xffff} << 20, magnitude + 12);
  return last >> 16;
}

void encode_group8(const Group& g, const EncodingGrid& grid, uint8_t* out) {
  for (int64_t i = 0; i < kTileSize / kLanes; ++i) {
    const VecU code = encode_logfmt(grid, 8, g.v[i]);
    const VecU sign = code > 0u ? bit_cast_vec<VecU>(g.v[i]) >> 24 & 0x80u : VecU{};
    store_bytes(out + i * kLanes, code | sign);
  }
}

void encode_group10(const Group& g, const EncodingGrid& grid, uint8_t* out) {
  uint16_t magnitude[kTileSize];
  uint8_t sign[kTileSize];
  for (int64_t i = 0; i < kTileSize / kLanes; ++i) {
    const VecU code = encode_logfmt(grid, 10, g.v[i]);
    const VecH words = truncate(code);
    __builtin_memcpy(magnitude + i * kLanes, &words, sizeof words);
    store_bytes(sign + i * kLanes, code > 0u ? bit_cast_vec<VecU>(g.v[i]) >> 31 : VecU{});
  }
  for (int64_t i = 0; i < kTileSize; i += 16) {
    uint32_t signs = 0;
    for (int64_t j = 0; j < 16; ++j) signs |= static_cast<uint32_t>(sign[i + j]) << j;
    pack_ten_bits(magnitude + i, signs, out + i / 16 * 20);
  }
}

Group decode_group8(const uint8_t* in, const Grid& grid) {
  Group g;
  for (int64_t i = 0; i < kTileSize / kLanes; ++i) {
    const VecU code = load_bytes(in + i * kLanes);
    g.v[i] = decode_logfmt(grid, code & 0x7fu, code >> 7);
  }
  return g;
}

Group decode_group10(const uint8_t* in, const Grid& grid) {
  uint16_t magnitude[kTileSize];
  uint8_t sign[kTileSize];
  for (int64_t i = 0; i < kTileSize; i += 16) {
    const uint32_t signs = unpack_ten_bits(in + i / 16 * 20, magnitude + i);
    for (int64_t j = 0; j < 16; ++j) sign[i + j] = signs >> j & 1;
  }
  Group g;
  for (int64_t i = 0; i < kTileSize / kLanes; ++i)
    g.v[i] = decode_logfmt(grid, extend(load_bits<VecH>(magnitude + i * kLanes, Full{})),
                           load_bytes(sign + i * kLanes));
  return g;
}

/// (amax, amin) of a group: exact in BF16, as the values were rounded to it.
struct Extremes {
  uint16_t amax, amin;
};

void logfmt_encode(int bits, bool zeros_in_amin, Rows x, uint8_t* packed, int64_t cols) {
  const int64_t groups = (cols + kTileSize - 1) / kTileSize;
  with_type(x.bf16, [&](auto t) {
    for_groups(static_cast<const decltype(t)*>(x.data), cols,
               [&](int64_t i, const auto* data, int64_t n) {
                 Group g = load_group(data, n);
                 for (VecF& v : g.v) v = widen(narrow(v));
                 const float amax = amax_of(g), amin = amin_of(g, zeros_in_amin, n);
                 const Extremes extremes = {static_cast<uint16_t>(bits_of(amax) >> 16),
                                            static_cast<uint16_t>(bits_of(amin) >> 16)};
                 __builtin_memcpy(packed + groups * 16 * bits + i * 4, &extremes, sizeof extremes);
                 const EncodingGrid grid = encoding_grid_of(grid_of(bits, amax, amin));
                 if (bits == 8)
                   encode_group8(g, grid, packed + i * 128);
                 else
                   encode_group10(g, grid, packed + i * 160);
               });
  });
}

void logfmt_decode(int bits, const uint8_t* packed, MutableRows x, int64_t cols) {
  const int64_t groups = (cols + kTileSize - 1) / kTileSize;
  with_type(x.bf16, [&](auto t) {
    for_groups(static_cast<decltype(t)*>(x.data), cols, [&](int64_t i, auto* data, int64_t n) {
      Extremes extremes;
      __builtin_memcpy(&extremes, packed + groups * 16 * bits + i * 4, sizeof extremes);
      const Grid grid = grid_of(bits, float_of(static_cast<uint32_t>(extremes.amax) << 16),
                                float_of(static_cast<uint32_t>(extremes.amin) << 16));
      store_group(data,
                  bits == 8 ? decode_group8(packed + i * 128, grid)
                            : decode_group10(packed + i * 160, grid),
                  n);
    });
  });
}

}  // namespace

const PackOps kPackOps = {e5m6_pack, e5m6_unpack, logfmt_encode, logfmt_decode};

}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
