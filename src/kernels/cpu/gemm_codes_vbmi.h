#pragma once

// Rows of stored weights as BF16 codes and F32 scales apart (AVX512-VBMI): codes of at most eight
// bits are exact in BF16, so a product sums codes first and applies a scale once for all that lie
// under it. Codes come in the order in which they fall out of the format's bytes; activations are
// packed in that order (gemm_stream_codes.h). For files compiled once per instruction set.

#include "kernels/cpu/gemm_decode_vbmi.h"

#if defined(__AVX512VBMI__)

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

// A row decodes in steps of kStep elements, kVectors vectors of 32, in runs of kRunVectors that
// share a vector of scales:
//   begin(from, s, units)  what the runs of step s share. It is stored at `from`; so many units of
//     32 elements exist, the others are zero bytes
//   run<i>(factors, from, words)  the vectors of run i; returns their scales: lane l of a product's
//     sum over them belongs under lane l
//   offset(factors, s, units, add)  calls add(lanes) at most once: what the sums packed with a step
//     of activations are multiplied by
// Of what these are sums, kSums says. element(v, w) is where in the step word w of vector v comes
// from.

template <int64_t kVectors>
using Words = __m512i[kVectors];

template <class F>
constexpr auto lanes_of(F lane) {
  struct alignas(64) Lanes {
    int32_t value[16];
  } l{};
  for (int i = 0; i < 16; ++i) l.value[i] = static_cast<int32_t>(lane(i));
  return l;
}
template <class Order>
inline VecF pick_lanes(VecF from, const Order& order) {
  return _mm512_maskz_permutexvar_ps(0xffff, load_512(order.value), from);
}
/// Each of four lanes four times; lanes 2i and 2i + 1 (i = kPair) eight times each.
inline constexpr auto kFourFold = lanes_of([](int i) { return i / 4; });
template <int64_t kPair>
inline constexpr auto kEightFold = lanes_of([](int i) { return 2 * kPair + i / 8; });

/// A code of less than eight bits is BF16 of kWordBias + code, made by putting it under the
/// exponent of 128, where a mantissa counts in ones. What a product then has too much, kWordBias
/// for each activation, is taken off by the sums of activations: no table, no shuffle.
inline constexpr int kWordBias = 128;
inline __m512i code_words(__m512i units, int mask) {
  constexpr int kAndOr = 0xea;  // a & b | c
  return _mm512_ternarylogic_epi32(units, _mm512_set1_epi16(static_cast<int16_t>(mask)),
                                   _mm512_set1_epi16(0x4300), kAndOr);
}
/// Four-bit codes of 64 bytes: bits 4i to 4i + 3 of each 16-bit unit.
template <int i>
inline __m512i nibble_words(__m512i bytes) {
  return code_words(i == 0 ? bytes : _mm512_maskz_srli_epi16(kWords, bytes, 4 * i), 0xf);
}
/// 64 codes of a byte each: those of even bytes, then of odd ones.
inline void byte_words(__m512i bytes, Words<2>& words) {
  words[0] = code_words(bytes, 0xff);
  words[1] = code_words(_mm512_maskz_srli_epi16(kWords, bytes, 8), 0xff);
}

/// The lower 32 bytes; GCC 12 warns of its own intrinsic.
inline __m256i low_half(__m512i x) {
  return __builtin_shufflevector(x, x, 0, 1, 2, 3);
}

/// The sums of activations that a step is packed with.
enum class Sums {
  kNone,
  kOfLanes,  ///< of what meets each lane, times kSumFactor: what products of a run start from
  kPlaced,   ///< of kSummed elements each, where place_sum puts them: for `offset`
};

struct Steps128 {
  static constexpr int64_t kStep = 128, kVectors = 4;
};
struct Steps256 {
  static constexpr int64_t kStep = 256, kVectors = 8;
};

/// The scales and zero points of the four units of 32 elements of a step. x must outlive it.
template <StorageFormat kFormat>
class UnitScales {
 public:
  UnitScales(const GemmOperand& x, int64_t r)
      : x_(x),
        row_(r),
        scale_(static_cast<const std::byte*>(x.scale.data) +
               (x.first_row + r) * x.scale.stride * (x.scale.dtype == DType::kF32 ? 4 : 2)),
        steps_(x.scale.cols == 1          ? kWholeRow
               : x.tile.cols % kStep == 0 ? x.tile.cols / kStep
                                          : 0) {}

  /// One scale for the step, in all lanes of `scales`, or those of its units in lanes 0 to 3.
  bool is_uniform() const { return steps_ > 0; }
  bool has_zeros() const { return x_.zero.data != nullptr; }

  [[gnu::always_inline]] VecF scales(int64_t s, int64_t units) const {
    if (is_uniform()) return splat(one_scale(group_of_step(s)));
    if (x_.tile.cols == kUnit && units == kUnits) return four_scales(kUnits * s);
    return each(s, units, [](const Affine& a) { return a.scale; });
  }
  /// What a unit's sum of activations is multiplied by, beside scales as above: codes are centred,
  /// values are relative to the zero point.
  [[gnu::always_inline]] VecF offsets(int64_t s, int64_t units, VecF scales) const {
    if (is_uniform()) return scales * (kCentre - one_zero(group_of_step(s)));
    return each(s, units, [](const Affine& a) { return a.scale * (kCentre - a.zero); });
  }

 private:
  using Groups = GroupRow<kFormat>;
  static constexpr float kCentre = Groups::kSymmetric;
  static constexpr int64_t kStep = 128, kUnit = 32, kUnits = kStep / kUnit;
  static constexpr int64_t kWholeRow = int64_t{1} << 40;

  int64_t group_of_step(int64_t s) const { return steps_ == 1 ? s : s / steps_; }
  float one_scale(int64_t g) const {
    if (x_.scale.dtype == DType::kF32) {
      float x;
      std::memcpy(&x, scale_ + 4 * g, sizeof x);
      return x;
    }
    uint16_t half;
    std::memcpy(&half, scale_ + 2 * g, sizeof half);
    if (x_.scale.dtype == DType::kBF16)
      return __builtin_bit_cast(float, static_cast<uint32_t>(half) << 16);
    return _cvtsh_ss(half);
  }
  float one_zero(int64_t g) const {
    float zero;
    Groups(x_, row_).read_zeros(g, 1, &zero);
    return zero;
  }
  VecF four_scales(int64_t g) const {
    if (x_.scale.dtype == DType::kF32)
      return _mm512_zextps128_ps512(_mm_loadu_ps(reinterpret_cast<const float*>(scale_ + 4 * g)));
    const __m128i halves = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(scale_ + 2 * g));
    return _mm512_zextps128_ps512(
        x_.scale.dtype == DType::kBF16
            ? _mm_castsi128_ps(_mm_slli_epi32(_mm_cvtepu16_epi32(halves), 16))
            : _mm_cvtph_ps(halves));
  }
  /// Units one by one, of any group size; zero for those that do not exist.
  template <class Value>
  [[gnu::noinline]] VecF each(int64_t s, int64_t units, Value value) const {
    alignas(64) float lanes[16] = {};
    for (int64_t u = 0; u < units; ++u)
      lanes[u] = value(Groups(x_, row_).at((s * kStep + u * kUnit) / x_.tile.cols));
    return load(lanes, Full{});
  }

  const GemmOperand& x_;
  int64_t row_;
  const std::byte* scale_;  ///< of the row
  int64_t steps_;           ///< in a group; none: groups are not whole steps
};

/// Integers in groups: sums of the activations of each unit of 32 meet zero points.
template <StorageFormat kFormat>
class IntegerRow {
 public:
  static constexpr Sums kSums = Sums::kPlaced;
  static constexpr int64_t kSummed = 32;
  static void place_sum(int64_t unit, float sum, float* lanes) { lanes[unit] = sum; }

  IntegerRow(const GemmOperand& x, int64_t r) : scales_(x, r) {}
  [[gnu::always_inline]] VecF begin(const std::byte*, int64_t s, int64_t units) const {
    return scales_.scales(s, units);
  }
  template <class Add>
  [[gnu::always_inline]] void offset(VecF scales, int64_t s, int64_t units, Add add) const {
    if (scales_.has_zeros()) add(scales_.offsets(s, units, scales));
  }

 protected:
  bool is_uniform() const { return scales_.is_uniform(); }

 private:
  UnitScales<kFormat> scales_;
};

/// Without sums that are multiplied.
struct NoOffset {
  template <class Factors, class Add>
  void offset(const Factors&, int64_t, int64_t, Add) const {}
};

struct Int4CodeRow : Steps128, IntegerRow<StorageFormat::kInt4> {
  static constexpr int64_t kStepBytes = 64, kRunVectors = 4;
  static constexpr int element(int v, int w) {
    return 32 * (w / 8) + 16 * (v % 2) + 2 * (w % 8) + v / 2;
  }

  using IntegerRow::IntegerRow;
  template <int64_t>
  [[gnu::always_inline]] VecF run(VecF scales, const std::byte* from, Words<4>& words) const {
    const __m512i bytes = load_512(from), high = _mm512_maskz_srli_epi16(kWords, bytes, 4);
    // BF16 of -8 … 7, twice: bits above the fourth of an index, a byte twice, do not matter.
    const __m512i table = round_words(lane_numbers() - 8.0f, lane_numbers() - 8.0f);
    words[0] = look_up(table, _mm512_unpacklo_epi8(bytes, bytes));
    words[1] = look_up(table, _mm512_unpackhi_epi8(bytes, bytes));
    words[2] = look_up(table, _mm512_unpacklo_epi8(high, high));
    words[3] = look_up(table, _mm512_unpackhi_epi8(high, high));
    return is_uniform() ? scales : pick_lanes(scales, kFourFold);
  }
};

/// Of integers of eight bits, words 0 to 15 of vectors 2i and 2i + 1 are of unit 2i, the others of
/// the next: the halves of a vector are converted from 16 bytes each.
struct ByteSteps : Steps128 {
  static constexpr int64_t kRunVectors = 2;
  static constexpr int element(int v, int w) {
    return 64 * (v / 2) + 32 * (w / 16) + 16 * (v % 2) + w % 16;
  }
};

template <StorageFormat kFormat>
struct Int8CodeRow : ByteSteps, IntegerRow<kFormat> {
  static constexpr int64_t kStepBytes = 128;

  using IntegerRow<kFormat>::IntegerRow;
  template <int64_t i>
  [[gnu::always_inline]] VecF run(VecF scales, const std::byte* from, Words<2>& words) const {
    const std::byte* p = from + 64 * i;
    words[0] = round_words(codes(p), codes(p + 32));
    words[1] = round_words(codes(p + 16), codes(p + 48));
    return this->is_uniform() ? scales : pick_lanes(scales, kEightFold<i>);
  }

 private:
  static VecF codes(const std::byte* p) {
    if constexpr (kFormat == StorageFormat::kInt8) return signed_lanes(p);
    const __m128i centred = _mm_xor_si128(load_128(p), _mm_set1_epi8(-128));
    return _mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepi8_epi32(0xffff, centred));
  }
};

struct Q8CodeRow : ByteSteps, NoOffset {
  static constexpr int64_t kBlockBytes = 34, kStepBytes = 4 * kBlockBytes;
  static constexpr Sums kSums = Sums::kNone;

  Q8CodeRow(const GemmOperand&, int64_t) {}
  struct Factors {};
  static Factors begin(const std::byte*, int64_t, int64_t) { return {}; }
  template <int64_t i>
  [[gnu::always_inline]] static VecF run(Factors, const std::byte* from, Words<2>& words) {
    const std::byte *p = from + 2 * i * kBlockBytes, *q = p + kBlockBytes;
    words[0] = round_words(signed_lanes(p + 2), signed_lanes(q + 2));
    words[1] = round_words(signed_lanes(p + 18), signed_lanes(q + 18));
    return _mm512_maskz_cvtph_ps(0xffff, _mm256_set_m128i(eight_halves(q), eight_halves(p)));
  }

 private:
  static __m128i eight_halves(const std::byte* p) {
    int16_t half;
    std::memcpy(&half, p, sizeof half);
    return _mm_set1_epi16(half);
  }
};

struct Q4CodeRow : Steps128, NoOffset {
  static constexpr int64_t kStepBytes = 72, kRunVectors = 4;
  static constexpr Sums kSums = Sums::kOfLanes;
  static constexpr float kSumFactor = -(kWordBias + 8);
  static constexpr int element(int v, int w) {
    return 32 * (w / 8) + 16 * (v % 2) + 2 * (w % 8) + v / 2;
  }

  Q4CodeRow(const GemmOperand&, int64_t) {}
  struct Factors {
    __m512i bytes;
    VecF scales;
  };
  [[gnu::always_inline]] static Factors begin(const std::byte* from, int64_t, int64_t) {
    // Blocks of 18 bytes, the scale first. The codes of the fourth end with the bytes that the
    // second load ends with.
    static constexpr auto kCodes = bytes_of([](int i) { return i / 16 * 18 + 2 + i % 16; });
    static constexpr auto kScales = bytes_of([](int i) { return i % 2 == 0 ? i / 8 * 9 : 0; });
    __m512i first = load_512(from);
    asm("" : "+v"(first));  // one load for both permutations: it crosses a cache line
    const __m512i last = load_512(from + 8);
    const __m512i halves = _mm512_maskz_permutexvar_epi16(kWords, load_512(kScales.value), first);
    return {_mm512_mask_permutexvar_epi8(last, 0xffffffffffff, load_512(kCodes.value), first),
            _mm512_maskz_cvtph_ps(0xffff, low_half(halves))};
  }
  template <int64_t>
  [[gnu::always_inline]] static VecF run(const Factors& x, const std::byte*, Words<4>& words) {
    unrolled<4>([&](auto i) { words[i] = nibble_words<i>(x.bytes); });
    return x.scales;
  }
};

/// Of Q4_K and Q5_K: groups 4p (vectors 4p and 4p + 1, words 0 to 15), 4p + 2 (words 16 to 31), and
/// 4p + 1, 4p + 3 in the next two vectors, from 64 bytes of low and high halves.
struct WithMinSteps : Steps256 {
  static constexpr int64_t kRunVectors = 2;
  static constexpr int element(int v, int w) {
    const int group = v / 4 * 4 + w / 16 * 2 + v / 2 % 2;
    return 32 * group + 2 * (w % 16) + v % 2;
  }
  /// Lanes of scales_and_minima for run q.
  template <int64_t q>
  static constexpr auto kGroups = lanes_of([](int i) { return q / 2 * 4 + i / 8 * 2 + q % 2; });

  /// Sums meet scales_and_minima: minima are taken off too.
  static constexpr Sums kSums = Sums::kPlaced;
  static constexpr int64_t kSummed = 32;
  static void place_sum(int64_t group, float sum, float* lanes) {
    lanes[group] = -kWordBias * sum;
    lanes[8 + group] = -sum;
  }
  [[gnu::always_inline]] static VecF begin(const std::byte* from, int64_t, int64_t) {
    return scales_and_minima(from);
  }
  template <class Add>
  static void offset(VecF factors, int64_t, int64_t, Add add) {
    add(factors);
  }
};

struct Q4KCodeRow : WithMinSteps {
  static constexpr int64_t kStepBytes = 144;

  Q4KCodeRow(const GemmOperand&, int64_t) {}
  template <int64_t q>
  [[gnu::always_inline]] static VecF run(VecF factors, const std::byte* from, Words<2>& words) {
    const __m512i bytes = load_512(from + 16 + 64 * (q / 2));
    words[0] = nibble_words<q % 2>(bytes);
    words[1] = nibble_words<q % 2 + 2>(bytes);
    return pick_lanes(factors, kGroups<q>);
  }
};

/// Codes whose low four bits are those of x, the bits above from `upper`, of which `mask` count.
inline __m512i join_bits(__m512i x, __m512i upper, int mask) {
  const __m512i both = _mm512_ternarylogic_epi32(x, upper, _mm512_set1_epi8(0x0f), kSelect);
  return _mm512_and_si512(both, _mm512_set1_epi8(static_cast<char>(mask)));
}

struct Q5KCodeRow : WithMinSteps {
  static constexpr int64_t kStepBytes = 176;

  Q5KCodeRow(const GemmOperand&, int64_t) {}
  template <int64_t q>
  [[gnu::always_inline]] static VecF run(VecF factors, const std::byte* from, Words<2>& words) {
    // The fifth bit of group j is bit j of the fifths: brought to bit 4.
    static constexpr auto kMove = bytes_of([](int i) {
      const int group = q / 2 * 4 + i / 32 * 2 + q % 2;
      return (i % 8 * 8 + group - 4) & 63;
    });
    const __m512i fifths = _mm512_maskz_broadcast_i64x4(0xff, load_256(from + 16));
    const __m512i nibbles = load_512(from + 48 + 64 * (q / 2));
    const __m512i moved = _mm512_maskz_multishift_epi64_epi8(kBytes, load_512(kMove.value), fifths);
    byte_words(
        join_bits(q % 2 ? _mm512_maskz_srli_epi16(kWords, nibbles, 4) : nibbles, moved, 0x1f),
        words);
    return pick_lanes(factors, kGroups<q>);
  }
};

/// Groups of 16 elements: four consecutive ones fill the 128-bit lanes of two vectors.
struct Q6KCodeRow : Steps256 {
  static constexpr int64_t kStepBytes = 210, kRunVectors = 2, kSummed = 16;
  static constexpr Sums kSums = Sums::kPlaced;
  static constexpr int element(int v, int w) { return 64 * (v / 2) + 2 * w + v % 2; }
  static void place_sum(int64_t group, float sum, float* lanes) {
    lanes[group] = -(kWordBias + 32) * sum;
  }

  Q6KCodeRow(const GemmOperand&, int64_t) {}
  [[gnu::always_inline]] static VecF begin(const std::byte* from, int64_t, int64_t) {
    return signed_lanes(from + 192) * half_at(bytes_at(from) + 208);
  }
  template <int64_t q>
  [[gnu::always_inline]] static VecF run(VecF scales, const std::byte* from, Words<2>& words) {
    // Upper bits come to bits 4 and 5: from bits 0 and 1 of each byte for the first 32 elements
    // of 128, from 2 and 3 for the next, and so on.
    static constexpr auto kMove =
        bytes_of([](int i) { return (i % 8 * 8 + (q % 2 * 2 + i / 32) * 2 - 4) & 63; });
    static constexpr auto kGroups = lanes_of([](int i) { return 4 * q + i / 4; });
    const __m512i nibbles = load_512(from + 64 * (q / 2));
    const __m512i upper = _mm512_maskz_broadcast_i64x4(0xff, load_256(from + 128 + 32 * (q / 2)));
    const __m512i moved = _mm512_maskz_multishift_epi64_epi8(kBytes, load_512(kMove.value), upper);
    byte_words(
        join_bits(q % 2 ? _mm512_maskz_srli_epi16(kWords, nibbles, 4) : nibbles, moved, 0x3f),
        words);
    return pick_lanes(scales, kGroups);
  }
  template <class Add>
  static void offset(VecF scales, int64_t, int64_t, Add add) {
    add(scales);
  }
};

template <StorageFormat kFormat>
struct CodeRowOf;
#define FATHOM_CODE_ROW(format, row)        \
  template <>                               \
  struct CodeRowOf<StorageFormat::format> { \
    using Row = row;                        \
  };
FATHOM_CODE_ROW(kInt4, Int4CodeRow)
FATHOM_CODE_ROW(kInt8, Int8CodeRow<StorageFormat::kInt8>)
FATHOM_CODE_ROW(kUint8, Int8CodeRow<StorageFormat::kUint8>)
FATHOM_CODE_ROW(kQ8_0, Q8CodeRow)
FATHOM_CODE_ROW(kQ4_0, Q4CodeRow)
FATHOM_CODE_ROW(kQ4_K, Q4KCodeRow)
FATHOM_CODE_ROW(kQ5_K, Q5KCodeRow)
FATHOM_CODE_ROW(kQ6_K, Q6KCodeRow)
#undef FATHOM_CODE_ROW

/// f(Index) with the Row of a format that is_packed.
template <class F>
inline void with_code_row(StorageFormat format, F f) {
  const auto row = [&]<StorageFormat kFormat>() {
    f(std::type_identity<typename CodeRowOf<kFormat>::Row>{});
  };
  switch (format) {
    case StorageFormat::kInt4:
      return row.template operator()<StorageFormat::kInt4>();
    case StorageFormat::kInt8:
      return row.template operator()<StorageFormat::kInt8>();
    case StorageFormat::kUint8:
      return row.template operator()<StorageFormat::kUint8>();
    case StorageFormat::kQ8_0:
      return row.template operator()<StorageFormat::kQ8_0>();
    case StorageFormat::kQ4_0:
      return row.template operator()<StorageFormat::kQ4_0>();
    case StorageFormat::kQ4_K:
      return row.template operator()<StorageFormat::kQ4_K>();
    case StorageFormat::kQ5_K:
      return row.template operator()<StorageFormat::kQ5_K>();
    default:
      return row.template operator()<StorageFormat::kQ6_K>();
  }
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS

#endif
