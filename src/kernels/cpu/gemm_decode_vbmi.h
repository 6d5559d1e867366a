#pragma once

// Decoders to BF16 with byte permutes (AVX512-VBMI). Codes of four and five bits are looked up in a
// table of BF16 values that is made for each group: 16 values in both halves of a vector (the bit
// above a code is then ignored), or 32. Wider codes are converted to F32, scaled and rounded. To
// F32, and the ends of rows, the slower rows of gemm_decode_rows.h do. For files compiled once per
// instruction set.

#include "kernels/cpu/gemm_decode_rows.h"
#include "kernels/cpu/gemm_source.h"

#if defined(__AVX512VBMI__)

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

constexpr __mmask64 kBytes = ~__mmask64{0};
// Of a ternary operation: the first where the third has ones, else the second.
constexpr int kSelect = 0xe4;
constexpr __mmask32 kWords = ~__mmask32{0};

/// The lanes of low, then those of high, rounded to BF16.
inline __m512i round_words(VecF low, VecF high) {
  return bit_cast_vec<__m512i>(round_pairs(low, high));
}
inline void store_bf16(BF16* to, __m512i words) {
  _mm512_storeu_si512(to, words);
}
inline __m512i look_up(__m512i table, __m512i codes) {
  return _mm512_maskz_permutexvar_epi16(kWords, codes, table);
}

/// Bytes i of a vector from a constant expression.
template <class F>
constexpr auto bytes_of(F byte) {
  struct alignas(64) Bytes {
    uint8_t value[64];
  } b{};
  for (int i = 0; i < 64; ++i) b.value[i] = static_cast<uint8_t>(byte(i));
  return b;
}
inline __m512i load_512(const void* p) {
  return _mm512_loadu_si512(p);
}
inline __m256i load_256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
inline __m128i load_128(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}

/// 0, 1, … 15.
inline VecF lane_numbers() {
  alignas(64) static constexpr float kNumbers[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                     8, 9, 10, 11, 12, 13, 14, 15};
  return load(kNumbers, Full{});
}
inline VecF values_of(VecF codes, const Affine& group) {
  return (codes - group.zero) * group.scale - group.min;
}
/// A table of the codes 0 to 15, twice.
inline __m512i table_of_16(const Affine& group) {
  const VecF values = values_of(lane_numbers(), group);
  return round_words(values, values);
}

/// An F16 in all lanes; reads eight bytes.
inline VecF broadcast_half(const std::byte* p) {
  const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm512_maskz_broadcastss_ps(0xffff, _mm_cvtph_ps(eight));
}

/// 32 bytes as words; 16 of them as lanes of F32, signed or not.
inline __m512i words_of(__m256i bytes) {
  return _mm512_maskz_cvtepu8_epi16(kWords, bytes);
}
inline VecF signed_lanes(const std::byte* p) {
  return _mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepi8_epi32(0xffff, load_128(p)));
}
inline VecF unsigned_lanes(const std::byte* p) {
  return _mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepu8_epi32(0xffff, load_128(p)));
}

/// Rows of integers. Kind::with(group, units, from, to) decodes consecutive units of one group.
template <StorageFormat kFormat, class Kind>
class FastIntRow {
 public:
  static constexpr int64_t kUnit = 32, kUnitBytes = IntRow<kFormat>::kUnitBytes;
  FastIntRow(const GemmOperand& x, int64_t r)
      : groups_(x, r), group_units_((x.tile.cols + kUnit - 1) / kUnit) {}

  void decode(const std::byte* from, int64_t u, int64_t units, BF16* to) const {
    while (units > 0) {
      const int64_t in_group = u % group_units_;
      const int64_t part = in_group > 0 || units < group_units_
                               ? one_group(u, std::min(units, group_units_ - in_group), from, to)
                               : whole_groups(u / group_units_, units / group_units_, from, to);
      from += part * kUnitBytes;
      to += part * kUnit;
      u += part;
      units -= part;
    }
  }

 private:
  /// Each returns how many units it decoded.
  int64_t one_group(int64_t u, int64_t units, const std::byte* from, BF16* to) const {
    Kind::with(groups_.at(u / group_units_), units, from, to);
    return units;
  }
  int64_t whole_groups(int64_t first, int64_t count, const std::byte* from, BF16* to) const {
    constexpr int64_t kAtOnce = 16;
    count = std::min(count, kAtOnce);
    float scales[kAtOnce], zeros[kAtOnce];
    groups_.template read<kAtOnce>(first, count, scales, zeros);
    const auto each = [&](auto units) {
      for (int64_t i = 0; i < count; ++i, from += units * kUnitBytes, to += units * kUnit)
        Kind::with({scales[i], zeros[i], 0}, units, from, to);
    };
    if (group_units_ == 1)
      each(std::integral_constant<int64_t, 1>{});
    else if (group_units_ == 2)
      each(std::integral_constant<int64_t, 2>{});
    else if (group_units_ == 4)
      each(std::integral_constant<int64_t, 4>{});
    else
      each(group_units_);
    return count * group_units_;
  }

  GroupRow<kFormat> groups_;
  int64_t group_units_;
};

/// Two codes a byte, the first in the low half.
struct Int4Units {
  template <class Units>
  [[gnu::always_inline]] static void with(const Affine& group, Units units, const std::byte* from,
                                          BF16* to) {
    const __m512i table = table_of_16(group);
    int64_t i = 0;
    for (; i + 2 <= units; i += 2) two(table, load_256(from + 16 * i), to + 32 * i);
    if (i < units) {
      const __m512i codes = codes_of(_mm256_castsi128_si256(load_128(from + 16 * i)), false);
      store_bf16(to + 32 * i, look_up(table, codes));
    }
  }

 private:
  static void two(__m512i table, __m256i bytes, BF16* to) {
    store_bf16(to, look_up(table, codes_of(bytes, false)));
    store_bf16(to + 32, look_up(table, codes_of(bytes, true)));
  }
  /// Codes of the first or last 16 of 32 bytes, each in the low bits of a word.
  static __m512i codes_of(__m256i bytes, bool last) {
    // Interleaving words works within 128 bits: four bytes of each half go to each such lane.
    static constexpr auto kOrder =
        bytes_of([](int i) { return i / 16 * 4 + i % 8 / 2 + i % 16 / 8 * 16; });
    const __m512i low = _mm512_maskz_permutexvar_epi8(kBytes, load_512(kOrder.value),
                                                      _mm512_castsi256_si512(bytes));
    const __m512i high = _mm512_maskz_srli_epi16(kWords, low, 4);
    return last ? _mm512_unpackhi_epi16(low, high) : _mm512_unpacklo_epi16(low, high);
  }
};

template <bool kSigned>
struct Int8Units {
  template <class Units>
  [[gnu::always_inline]] static void with(const Affine& group, Units units, const std::byte* from,
                                          BF16* to) {
    const float zero = group.zero - (kSigned ? 128.0f : 0.0f);
    if (kSigned && zero == 0)
      return each(units, from, to, [&](VecF codes) { return codes * group.scale; });
    each(units, from, to, [&](VecF codes) { return (codes - zero) * group.scale; });
  }

 private:
  template <class Units, class Value>
  [[gnu::always_inline]] static void each(Units units, const std::byte* from, BF16* to,
                                          Value value) {
    const auto lanes = [](const std::byte* p) {
      return kSigned ? signed_lanes(p) : unsigned_lanes(p);
    };
    for (int64_t i = 0; i < units; ++i, from += 32)
      store_bf16(to + 32 * i, round_words(value(lanes(from)), value(lanes(from + 16))));
  }
};

using FastInt4Row = FastIntRow<StorageFormat::kInt4, Int4Units>;
using FastInt8Row = FastIntRow<StorageFormat::kInt8, Int8Units<true>>;
using FastUint8Row = FastIntRow<StorageFormat::kUint8, Int8Units<false>>;

/// Blocks one after the other.
template <StorageFormat kFormat, class Decode>
inline void for_blocks(const std::byte* from, int64_t units, BF16* to, Decode decode) {
  using Row = BlockRow<kFormat>;
  for (; units > 0; --units, from += Row::kUnitBytes, to += Row::kUnit) decode(from, to);
}

struct FastQ8Row : BlockRow<StorageFormat::kQ8_0> {
  using BlockRow::BlockRow;
  void decode(const std::byte* from, int64_t, int64_t units, BF16* to) const {
    for_blocks<StorageFormat::kQ8_0>(from, units, to, [](const std::byte* p, BF16* out) {
      const VecF d = broadcast_half(p);
      store_bf16(out, round_words(signed_lanes(p + 2) * d, signed_lanes(p + 18) * d));
    });
  }
};

/// 16 codes in low halves of bytes, then 16 in high ones.
struct FastQ4Row : BlockRow<StorageFormat::kQ4_0> {
  using BlockRow::BlockRow;
  void decode(const std::byte* from, int64_t, int64_t units, BF16* to) const {
    static constexpr auto kTwice = bytes_of([](int i) { return i / 2 % 16; });
    const __m512i twice = load_512(kTwice.value);
    const VecF numbers = lane_numbers() - 8.0f;
    for_blocks<StorageFormat::kQ4_0>(from, units, to, [&](const std::byte* p, BF16* out) {
      const VecF values = numbers * broadcast_half(p);
      const __m512i bytes =
          _mm512_maskz_permutexvar_epi8(kBytes, twice, _mm512_castsi128_si512(load_128(p + 2)));
      const __m512i codes = _mm512_mask_srli_epi16(bytes, 0xffff0000u, bytes, 4);
      store_bf16(out, look_up(round_words(values, values), codes));
    });
  }
};

/// The eight scales and minima of a block of Q4_K or Q5_K, as lanes.
inline VecF scales_and_minima(const std::byte* block) {
  uint32_t s[3];
  std::memcpy(s, block + 4, sizeof s);
  const uint64_t low = s[0] & 0x3f3f3f3fu, low_min = s[1] & 0x3f3f3f3fu;
  const uint64_t high = (s[2] & 0x0f0f0f0fu) | (s[0] >> 6 & 0x03030303u) << 4;
  const uint64_t high_min = (s[2] >> 4 & 0x0f0f0f0fu) | (s[1] >> 6 & 0x03030303u) << 4;
  const __m128i six = _mm_set_epi64x(static_cast<long long>(low_min | high_min << 32),
                                     static_cast<long long>(low | high << 32));
  uint32_t both;  // d and dmin
  std::memcpy(&both, block, sizeof both);
  const __m512 d = _mm512_maskz_cvtph_ps(
      0xffff, _mm256_set_m128i(_mm_set1_epi16(static_cast<int16_t>(both >> 16)),
                               _mm_set1_epi16(static_cast<int16_t>(both))));
  const VecF factors = _mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepu8_epi32(0xffff, six));
  return factors * bit_cast_vec<VecF>(d);
}

struct FastQ4KRow : BlockRow<StorageFormat::kQ4_K> {
  using BlockRow::BlockRow;
  void decode(const std::byte* from, int64_t, int64_t units, BF16* to) const {
    for_blocks<StorageFormat::kQ4_K>(from, units, to, decode_block);
  }

 private:
  static void decode_block(const std::byte* from, BF16* to) {
    alignas(64) float s[16];
    store(s, scales_and_minima(from), Full{});
    const std::byte* p = from + 16;
    for (int j = 0; j < 8; j += 2, p += 32, to += 64) {
      const __m512i low = words_of(load_256(p)), high = _mm512_maskz_srli_epi16(kWords, low, 4);
      store_bf16(to, look_up(table_of_16({s[j], 0, s[8 + j]}), low));
      store_bf16(to + 32, look_up(table_of_16({s[j + 1], 0, s[9 + j]}), high));
    }
  }
};

struct FastQ5KRow : BlockRow<StorageFormat::kQ5_K> {
  using BlockRow::BlockRow;
  void decode(const std::byte* from, int64_t, int64_t units, BF16* to) const {
    for_blocks<StorageFormat::kQ5_K>(from, units, to, decode_block);
  }

 private:
  static void decode_block(const std::byte* from, BF16* to) {
    alignas(64) float s[16];
    store(s, scales_and_minima(from), Full{});
    const __m512i fifths = words_of(load_256(from + 16));
    const std::byte* p = from + 48;
    // Bit j of the fifths, at bit 4, over the low bits of the others.
    const auto codes = [](__m512i low, __m512i fifth) {
      return _mm512_ternarylogic_epi32(low, fifth, _mm512_set1_epi16(0x0f), kSelect);
    };
    const auto put = [&](__m512i c, int j) {
      const Affine group{s[j], 0, s[8 + j]};
      const __m512i table =
          round_words(values_of(lane_numbers(), group), values_of(lane_numbers() + 16.0f, group));
      store_bf16(to + 32 * j, look_up(table, c));
    };
    for (int j = 0; j < 8; j += 2, p += 32) {
      const __m512i low = words_of(load_256(p)), high = _mm512_maskz_srli_epi16(kWords, low, 4);
      const __m512i moved = _mm512_maskz_srli_epi16(kWords, fifths, static_cast<unsigned>(j));
      put(codes(low, _mm512_maskz_slli_epi16(kWords, moved, 4)), j);
      put(codes(high, _mm512_maskz_slli_epi16(kWords, moved, 3)), j + 1);
    }
  }
};

struct FastQ6KRow : BlockRow<StorageFormat::kQ6_K> {
  using BlockRow::BlockRow;
  void decode(const std::byte* from, int64_t, int64_t units, BF16* to) const {
    for_blocks<StorageFormat::kQ6_K>(from, units, to, decode_block);
  }

 private:
  static void decode_block(const std::byte* from, BF16* to) {
    const float d = half_at(bytes_at(from) + 208);
    alignas(64) float s[16];
    store(s, signed_lanes(from + 192) * d, Full{});
    decode_half(from, from + 128, s, to);
    decode_half(from + 64, from + 160, s + 8, to + 128);
  }
  /// 128 elements: bytes of two low halves, of the upper bits of all.
  static void decode_half(const std::byte* low, const std::byte* high, const float* s, BF16* to) {
    // Upper bits come to bits 4 and 5: from bits 0 and 1 of each byte for the first 32 elements,
    // from 2 and 3 for the next, from 4 and 5, from 6 and 7 for the last two.
    static constexpr auto kFirst =
        bytes_of([](int i) { return (i % 8 * 8 + (i < 32 ? 60 : 62)) % 64; });
    static constexpr auto kSecond = bytes_of([](int i) { return i % 8 * 8 + (i < 32 ? 0 : 2); });
    const __m512i l = load_512(low);
    const __m512i h = _mm512_maskz_broadcast_i64x4(0xff, load_256(high));
    const __m512i h0 = _mm512_maskz_multishift_epi64_epi8(kBytes, load_512(kFirst.value), h);
    const __m512i h1 = _mm512_maskz_multishift_epi64_epi8(kBytes, load_512(kSecond.value), h);
    put(codes(l, h0), s, to);
    put(codes(_mm512_maskz_srli_epi16(kWords, l, 4), h1), s + 4, to + 64);
  }
  static __m512i codes(__m512i low, __m512i high) {
    const __m512i both = _mm512_ternarylogic_epi32(low, high, _mm512_set1_epi8(0x0f), kSelect);
    return _mm512_and_si512(both, _mm512_set1_epi8(0x3f));
  }
  /// 64 codes, four groups of 16.
  static void put(__m512i codes, const float* s, BF16* to) {
    alignas(64) std::byte bytes[64];
    _mm512_store_si512(bytes, codes);
    for (int g = 0; g < 4; g += 2, to += 32)
      store_bf16(to, round_words((unsigned_lanes(bytes + 16 * g) - 32.0f) * s[g],
                                 (unsigned_lanes(bytes + 16 * g + 16) - 32.0f) * s[g + 1]));
  }
};

struct FastF16Row : PlainRow<F16> {
  static constexpr int64_t kUnit = 32, kUnitBytes = 64;
  using PlainRow::PlainRow;
  void decode(const std::byte* from, int64_t, int64_t units, BF16* to) const {
    for (; units > 0; --units, from += kUnitBytes, to += kUnit)
      store_bf16(to, round_words(_mm512_maskz_cvtph_ps(0xffff, load_256(from)),
                                 _mm512_maskz_cvtph_ps(0xffff, load_256(from + 32))));
  }
};

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS

#endif
