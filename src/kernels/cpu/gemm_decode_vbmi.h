#pragma once

// Decoders to BF16 with byte permutes (AVX512-VBMI). Codes of four and five bits are looked up in a
// table of BF16 values that is made for each group: 16 values in both halves of a vector (the bit
// above a code is then ignored), or 32. Wider codes are converted to F32, scaled and rounded. To
// F32, and the ends of rows, the slower rows of gemm_decode_rows.h do. For files compiled once per
// instruction set.

#include "kernels/cpu/gemm_decode_rows.h"
#include "kernels/cpu/gemm_source.h"
#include "kernels/cpu/gemm_unit.h"

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

template <int64_t N>
using Index = std::integral_constant<int64_t, N>;

// Each row below decodes in steps of kVectors vectors of 32 elements: step(from, s, sink) is given
// step s of the row, stored at `from`, and calls sink(Index v, words) for v = 0, 1, …

/// Two codes a byte, the first in the low half.
struct Int4Codes {
  static constexpr int64_t kUnitBytes = 16;
  using Group = __m512i;
  static Group group(const Affine& a) { return table_of_16(a); }
  /// Units 2i and 2i + 1 of a step.
  template <int64_t I, class Sink>
  static void two(const std::byte* from, __m512i first, __m512i second, Sink sink) {
    // Interleaving words works within 128 bits: four bytes of each half go to each such lane.
    static constexpr auto kOrder =
        bytes_of([](int i) { return i / 16 * 4 + i % 8 / 2 + i % 16 / 8 * 16; });
    const __m512i low = _mm512_maskz_permutexvar_epi8(
        kBytes, load_512(kOrder.value), _mm512_castsi256_si512(load_256(from + 32 * I)));
    const __m512i high = _mm512_maskz_srli_epi16(kWords, low, 4);
    sink(Index<2 * I>{}, look_up(first, _mm512_unpacklo_epi16(low, high)));
    sink(Index<2 * I + 1>{}, look_up(second, _mm512_unpackhi_epi16(low, high)));
  }
};

template <bool kSigned>
struct Int8Codes {
  static constexpr int64_t kUnitBytes = 32;
  using Group = Affine;
  static Group group(Affine a) {
    if (kSigned) a.zero -= 128;
    return a;
  }
  template <int64_t I, class Sink>
  static void two(const std::byte* from, const Group& first, const Group& second, Sink sink) {
    sink(Index<2 * I>{}, unit(from + 64 * I, first));
    sink(Index<2 * I + 1>{}, unit(from + 64 * I + 32, second));
  }

 private:
  static __m512i unit(const std::byte* p, const Group& g) {
    const auto lanes = [](const std::byte* q) {
      return kSigned ? signed_lanes(q) : unsigned_lanes(q);
    };
    if (kSigned && g.zero == 0) return round_words(lanes(p) * g.scale, lanes(p + 16) * g.scale);
    return round_words((lanes(p) - g.zero) * g.scale, (lanes(p + 16) - g.zero) * g.scale);
  }
};

template <StorageFormat kFormat, class Codes>
class FastIntRow {
 public:
  static constexpr int64_t kVectors = 4, kStepBytes = kVectors * Codes::kUnitBytes;
  FastIntRow(const GemmOperand& x, int64_t r)
      : groups_(x, r),
        group_units_((x.tile.cols + 31) / 32),
        steps_(groups_.count() == 1           ? kWholeRow
               : group_units_ % kVectors == 0 ? group_units_ / kVectors
                                              : 0) {
    store(zeros_, splat(groups_.kSymmetric), Full{});
  }

  template <class Sink>
  [[gnu::always_inline]] void step(const std::byte* from, int64_t s, Sink sink) {
    if (steps_ > 0) {
      const auto g = group(steps_ == 1 ? s : s / steps_);
      Codes::template two<0>(from, g, g, sink);
      Codes::template two<1>(from, g, g, sink);
    } else if (group_units_ == 1) {
      Codes::template two<0>(from, group(4 * s), group(4 * s + 1), sink);
      Codes::template two<1>(from, group(4 * s + 2), group(4 * s + 3), sink);
    } else {
      const auto unit = [&](int64_t u) { return group((4 * s + u) / group_units_); };
      Codes::template two<0>(from, unit(0), unit(1), sink);
      Codes::template two<1>(from, unit(2), unit(3), sink);
    }
  }

 private:
  static constexpr uint64_t kNear = 16;
  static constexpr int64_t kWholeRow = int64_t{1} << 40;

  [[gnu::always_inline]] auto group(int64_t g) {
    const auto at = static_cast<uint64_t>(g) % kNear;
    if (g - static_cast<int64_t>(at) != first_) [[unlikely]]
      read(g - static_cast<int64_t>(at));
    return Codes::group({scales_[at], zeros_[at], 0});
  }
  [[gnu::noinline]] void read(int64_t first) {
    first_ = first;
    const int64_t count = std::min<int64_t>(kNear, groups_.count() - first);
    groups_.read_scales(first, count, scales_);
    if (groups_.has_zeros()) groups_.read_zeros(first, count, zeros_);
  }

  GroupRow<kFormat> groups_;
  int64_t group_units_, steps_;  // of a group; no steps: not a whole number
  int64_t first_ = -1;           // of the kNear groups at hand
  alignas(64) float scales_[kNear] = {}, zeros_[kNear];
};
using FastInt4Row = FastIntRow<StorageFormat::kInt4, Int4Codes>;
using FastInt8Row = FastIntRow<StorageFormat::kInt8, Int8Codes<true>>;
using FastUint8Row = FastIntRow<StorageFormat::kUint8, Int8Codes<false>>;

/// Units of 32 elements: kUnitBytes each, words(p) their values.
template <class Unit>
struct FastUnits {
  static constexpr int64_t kVectors = 4, kStepBytes = kVectors * Unit::kUnitBytes;
  FastUnits(const GemmOperand&, int64_t) {}
  template <class Sink>
  [[gnu::always_inline]] void step(const std::byte* from, int64_t, Sink sink) const {
    unrolled<kVectors>([&](auto v) { sink(v, Unit::words(from + v * Unit::kUnitBytes)); });
  }
};

struct F16Unit {
  static constexpr int64_t kUnitBytes = 64;
  static __m512i words(const std::byte* p) {
    return round_words(_mm512_maskz_cvtph_ps(0xffff, load_256(p)),
                       _mm512_maskz_cvtph_ps(0xffff, load_256(p + 32)));
  }
};
struct Q8Unit {
  static constexpr int64_t kUnitBytes = 34;
  static __m512i words(const std::byte* p) {
    const VecF d = broadcast_half(p);
    return round_words(signed_lanes(p + 2) * d, signed_lanes(p + 18) * d);
  }
};
/// 16 codes in low halves of bytes, then 16 in high ones.
struct Q4Unit {
  static constexpr int64_t kUnitBytes = 18;
  static __m512i words(const std::byte* p) {
    const VecF values = (lane_numbers() - 8.0f) * broadcast_half(p);
    static constexpr auto kTwice = bytes_of([](int i) { return i / 2 % 16; });
    const __m512i bytes = _mm512_maskz_permutexvar_epi8(kBytes, load_512(kTwice.value),
                                                        _mm512_castsi128_si512(load_128(p + 2)));
    const __m512i codes = _mm512_mask_srli_epi16(bytes, 0xffff0000u, bytes, 4);
    return look_up(round_words(values, values), codes);
  }
};
using FastF16Row = FastUnits<F16Unit>;
using FastQ8Row = FastUnits<Q8Unit>;
using FastQ4Row = FastUnits<Q4Unit>;

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

/// Blocks of 256 elements: a step each.
template <StorageFormat kFormat>
struct FastBlocks {
  static constexpr int64_t kVectors = 8, kStepBytes = info_of(kFormat).block_bytes;
  FastBlocks(const GemmOperand&, int64_t) {}
};

struct FastQ4KRow : FastBlocks<StorageFormat::kQ4_K> {
  using FastBlocks::FastBlocks;
  template <class Sink>
  [[gnu::always_inline]] void step(const std::byte* from, int64_t, Sink sink) const {
    alignas(64) float s[16];
    store(s, scales_and_minima(from), Full{});
    unrolled<4>([&](auto i) {
      const __m512i low = words_of(load_256(from + 16 + 32 * i));
      const __m512i high = _mm512_maskz_srli_epi16(kWords, low, 4);
      sink(Index<2 * i>{}, look_up(table_of_16({s[2 * i], 0, s[8 + 2 * i]}), low));
      sink(Index<2 * i + 1>{}, look_up(table_of_16({s[2 * i + 1], 0, s[9 + 2 * i]}), high));
    });
  }
};

struct FastQ5KRow : FastBlocks<StorageFormat::kQ5_K> {
  using FastBlocks::FastBlocks;
  template <class Sink>
  [[gnu::always_inline]] void step(const std::byte* from, int64_t, Sink sink) const {
    alignas(64) float s[16];
    store(s, scales_and_minima(from), Full{});
    const __m512i fifths = words_of(load_256(from + 16));
    const auto values = [&](int64_t j, __m512i low, __m512i fifth) {
      const Affine group{s[j], 0, s[8 + j]};
      const __m512i table =
          round_words(values_of(lane_numbers(), group), values_of(lane_numbers() + 16.0f, group));
      return look_up(table,
                     _mm512_ternarylogic_epi32(low, fifth, _mm512_set1_epi16(0x0f), kSelect));
    };
    // The fifth bit of group j is bit j of the fifths: brought to bit 4.
    unrolled<4>([&](auto i) {
      const __m512i low = words_of(load_256(from + 48 + 32 * i));
      const __m512i high = _mm512_maskz_srli_epi16(kWords, low, 4);
      const __m512i moved = _mm512_maskz_srli_epi16(kWords, fifths, 2 * i);
      sink(Index<2 * i>{}, values(2 * i, low, _mm512_maskz_slli_epi16(kWords, moved, 4)));
      sink(Index<2 * i + 1>{}, values(2 * i + 1, high, _mm512_maskz_slli_epi16(kWords, moved, 3)));
    });
  }
};

struct FastQ6KRow : FastBlocks<StorageFormat::kQ6_K> {
  using FastBlocks::FastBlocks;
  template <class Sink>
  [[gnu::always_inline]] void step(const std::byte* from, int64_t, Sink sink) const {
    alignas(64) float s[16];
    store(s, signed_lanes(from + 192) * half_at(bytes_at(from) + 208), Full{});
    alignas(64) std::byte codes[256];
    spell_half(from, from + 128, codes);
    spell_half(from + 64, from + 160, codes + 128);
    unrolled<8>([&](auto v) {
      const auto values = [&](int64_t g) {
        return (unsigned_lanes(codes + 16 * g) - 32.0f) * s[g];
      };
      sink(v, round_words(values(2 * v), values(2 * v + 1)));
    });
  }

 private:
  /// The codes of 128 elements, from bytes of two low halves and of the upper bits of all.
  static void spell_half(const std::byte* low, const std::byte* high, std::byte* codes) {
    // Upper bits come to bits 4 and 5: from bits 0 and 1 of each byte for the first 32 elements,
    // from 2 and 3 for the next, from 4 and 5, from 6 and 7 for the last two.
    static constexpr auto kFirst =
        bytes_of([](int i) { return (i % 8 * 8 + (i < 32 ? 60 : 62)) % 64; });
    static constexpr auto kSecond = bytes_of([](int i) { return i % 8 * 8 + (i < 32 ? 0 : 2); });
    const __m512i l = load_512(low);
    const __m512i h = _mm512_maskz_broadcast_i64x4(0xff, load_256(high));
    const auto spell = [](__m512i x, __m512i upper) {
      const __m512i both = _mm512_ternarylogic_epi32(x, upper, _mm512_set1_epi8(0x0f), kSelect);
      return _mm512_and_si512(both, _mm512_set1_epi8(0x3f));
    };
    const auto moved = [&](const auto& order) {
      return _mm512_maskz_multishift_epi64_epi8(kBytes, load_512(order.value), h);
    };
    _mm512_store_si512(codes, spell(l, moved(kFirst)));
    _mm512_store_si512(codes + 64, spell(_mm512_maskz_srli_epi16(kWords, l, 4), moved(kSecond)));
  }
};

/// The fast row of each format that is_decoded.
template <StorageFormat kFormat>
struct FastRowOf;
#define FATHOM_FAST_ROW(format, row)        \
  template <>                               \
  struct FastRowOf<StorageFormat::format> { \
    using Row = row;                        \
  };
FATHOM_FAST_ROW(kF16, FastF16Row)
FATHOM_FAST_ROW(kInt4, FastInt4Row)
FATHOM_FAST_ROW(kInt8, FastInt8Row)
FATHOM_FAST_ROW(kUint8, FastUint8Row)
FATHOM_FAST_ROW(kQ8_0, FastQ8Row)
FATHOM_FAST_ROW(kQ4_0, FastQ4Row)
FATHOM_FAST_ROW(kQ4_K, FastQ4KRow)
FATHOM_FAST_ROW(kQ5_K, FastQ5KRow)
FATHOM_FAST_ROW(kQ6_K, FastQ6KRow)
#undef FATHOM_FAST_ROW

/// For gemm_decode.cpp: steps of a fast row to memory.
template <StorageFormat kFormat>
struct FastRow {
  using Row = typename FastRowOf<kFormat>::Row;
  static constexpr int64_t kUnit = 32 * Row::kVectors, kUnitBytes = Row::kStepBytes;
  FastRow(const GemmOperand& x, int64_t r) : row_(x, r) {}
  void decode(const std::byte* from, int64_t u, int64_t units, BF16* to) {
    for (; units > 0; --units, ++u, from += kUnitBytes, to += kUnit)
      row_.step(from, u, [&](auto v, __m512i words) { store_bf16(to + 32 * v, words); });
  }

 private:
  Row row_;
};

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS

#endif
