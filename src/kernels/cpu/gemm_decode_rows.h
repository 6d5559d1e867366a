#pragma once

// A class for each storage format: a row of it, of which consecutive whole units of elements are
// decoded, the first being unit u of the row. These
// spell codes out as bytes and convert them lane by lane, on any instruction set;
// gemm_decode_vbmi.h has faster ones. For files compiled once per instruction set.

#include <algorithm>
#include <cstring>

#include "kernels/cpu/gemm_decode.h"
#include "kernels/cpu/vec_f16.h"
#include "numerics/gguf_blocks.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

/// What the codes of a group mean: scale · (code − zero) − min.
struct Affine {
  float scale = 1, zero = 0, min = 0;
};

/// `count` codes, a multiple of 16, as values. Of zero and min one is 0, so that each is rounded
/// once.
template <class T>
inline void emit(const uint8_t* codes, int64_t count, Affine group, T* to) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const VecF code = __builtin_convertvector(
        bit_cast_vec<VecI>(extend_codes(load_bits<VecQ>(codes + i, Full{}))), VecF);
    store(to + i, (code - group.zero) * group.scale - group.min, Full{});
  }
}

inline const uint8_t* bytes_at(const std::byte* p) {
  return reinterpret_cast<const uint8_t*>(p);
}

inline float half_at(const uint8_t* p) {
  F16 h;
  std::memcpy(&h, p, sizeof h);
  return f16_to_float(h);
}

/// F32, BF16 or F16: each element has its own address.
template <class From>
struct PlainRow {
  static constexpr int64_t kUnit = 16, kUnitBytes = kUnit * static_cast<int64_t>(sizeof(From));
  PlainRow(const GemmOperand&, int64_t) {}
  template <class T>
  void decode(const std::byte* from, int64_t, int64_t units, T* to) const {
    for (int64_t i = 0; i < units * kUnit; i += kLanes) {
      From lanes[kLanes];
      std::memcpy(lanes, from + i * static_cast<int64_t>(sizeof(From)), sizeof lanes);
      store(to + i, load(lanes, Full{}), Full{});
    }
  }
};

/// The scales and zero points of groups of one row of integers, the latter as codes are offset.
template <StorageFormat kFormat>
class GroupRow {
  static constexpr int kBits = kFormat == StorageFormat::kInt4 ? 4 : 8;
  static constexpr int kOffset = 1 << (kBits - 1);
  static constexpr int64_t kPerWord = 32 / kBits;

 public:
  static constexpr float kSymmetric = kOffset;  ///< the zero point of groups that have none

  GroupRow(const GemmOperand& x, int64_t r)
      : scale_(x.scale), zero_(x.zero), elements_(x.tile.cols), row_(x.first_row + r) {}

  int64_t group_of(int64_t element) const { return element / elements_; }
  /// Groups that exist.
  int64_t count() const { return scale_.cols; }
  Affine at(int64_t group) const {
    Affine a;
    read_scales(group, 1, &a.scale);
    a.zero = kSymmetric;
    if (has_zeros()) read_zeros(group, 1, &a.zero);
    return a;
  }
  bool has_zeros() const { return zero_.data != nullptr; }

  /// Those of groups [first, first + count).
  void read_scales(int64_t first, int64_t count, float* scales) const {
    if (scale_.dtype == DType::kBF16)
      widen<BF16>(first, count, scales);
    else if (scale_.dtype == DType::kF16)
      widen<F16>(first, count, scales);
    else
      widen<float>(first, count, scales);
  }
  void read_zeros(int64_t first, int64_t count, float* to) const {
    if (zero_.dtype == DType::kI8) {
      const int8_t* from = at<int8_t>(zero_, row_, first);
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(from[i] + kOffset);
      return;
    }
    const uint32_t* from = at<uint32_t>(zero_, row_ / kPerWord, first);
    const auto shift = static_cast<int>(row_ % kPerWord) * kBits;
    for (int64_t i = 0; i < count; ++i) {
      uint32_t word;  // files need not align it
      std::memcpy(&word, from + i, sizeof word);
      to[i] = static_cast<float>(static_cast<int>(word >> shift & ((1u << kBits) - 1)));
    }
  }

 private:
  template <class T>
  static const T* at(const ParameterRows& p, int64_t r, int64_t c) {
    return static_cast<const T*>(p.data) + r * p.stride + c;
  }
  template <class T>
  void widen(int64_t first, int64_t count, float* to) const {
    const T* from = at<T>(scale_, row_, first);
    for_vectors(count, [&](int64_t i, auto part) { store(to + i, load(from + i, part), part); });
  }
  ParameterRows scale_, zero_;
  int64_t elements_, row_;
};

template <StorageFormat kFormat>
struct IntRow {
  static constexpr int64_t kUnit = 32, kUnitBytes = kFormat == StorageFormat::kInt4 ? 16 : 32;
  IntRow(const GemmOperand& x, int64_t r) : groups_(x, r) {}
  template <class T>
  void decode(const std::byte* from, int64_t u, int64_t units, T* to) {
    for (; units > 0; --units, ++u, from += kUnitBytes, to += kUnit) decode_unit(from, u, to);
  }

 private:
  template <class T>
  void decode_unit(const std::byte* from, int64_t u, T* to) const {
    const uint8_t* p = bytes_at(from);
    uint8_t codes[kUnit];
    for (int64_t i = 0; i < kUnit; ++i) {
      if constexpr (kFormat == StorageFormat::kInt4)
        codes[i] = static_cast<uint8_t>(i % 2 ? p[i / 2] >> 4 : p[i / 2] & 15);
      else
        codes[i] = static_cast<uint8_t>(kFormat == StorageFormat::kInt8 ? p[i] ^ 0x80 : p[i]);
    }
    emit(codes, kUnit, groups_.at(groups_.group_of(u * kUnit)), to);
  }

  GroupRow<kFormat> groups_;
};

/// Of GGUF blocks, a unit is a block.
template <StorageFormat kFormat>
struct BlockRow {
  static constexpr int64_t kUnit = info_of(kFormat).block;
  static constexpr int64_t kUnitBytes = info_of(kFormat).block_bytes;
  BlockRow(const GemmOperand&, int64_t) {}
  template <class T>
  void decode(const std::byte* from, int64_t, int64_t units, T* to) const {
    for (; units > 0; --units, from += kUnitBytes, to += kUnit) decode_block(bytes_at(from), to);
  }

 private:
  template <class T>
  static void decode_block(const uint8_t* p, T* to) {
    uint8_t codes[kUnit];
    if constexpr (kFormat == StorageFormat::kQ8_0) {
      for (int i = 0; i < 32; ++i) codes[i] = p[2 + i] ^ 0x80;
      emit(codes, 32, {half_at(p), 128, 0}, to);
    } else if constexpr (kFormat == StorageFormat::kQ4_0) {
      for (int i = 0; i < 16; ++i) codes[i] = p[2 + i] & 15;
      for (int i = 0; i < 16; ++i) codes[16 + i] = p[2 + i] >> 4;
      emit(codes, 32, {half_at(p), 8, 0}, to);
    } else if constexpr (kFormat == StorageFormat::kQ6_K) {
      decode_q6(p, codes, to);
    } else {
      decode_with_min(p, codes, to);
    }
  }

  /// Q4_K and Q5_K: eight groups of 32.
  template <class T>
  static void decode_with_min(const uint8_t* p, uint8_t* codes, T* to) {
    constexpr bool kFive = kFormat == StorageFormat::kQ5_K;
    const float d = half_at(p), dmin = half_at(p + 2);
    const uint8_t *fifth = p + 16, *nibbles = p + (kFive ? 48 : 16);
    for (int j = 0; j < 8; ++j, codes += 32, to += 32) {
      const uint8_t* q = nibbles + j / 2 * 32;
      for (int i = 0; i < 32; ++i)
        codes[i] = static_cast<uint8_t>((q[i] >> (j % 2 * 4) & 15) |
                                        (kFive ? (fifth[i] >> j & 1) << 4 : 0));
      const gguf::ScaleMin s = gguf::scale_min(p + 4, j);
      emit(codes, 32, {d * static_cast<float>(s.scale), 0, dmin * static_cast<float>(s.min)}, to);
    }
  }

  template <class T>
  static void decode_q6(const uint8_t* p, uint8_t* codes, T* to) {
    for (int half = 0; half < 2; ++half)
      for (int j = 0; j < 4; ++j)
        for (int i = 0; i < 32; ++i) {
          const int low = p[64 * half + 32 * (j % 2) + i] >> (j / 2 * 4) & 15;
          const int high = p[128 + 32 * half + i] >> (2 * j) & 3;
          codes[128 * half + 32 * j + i] = static_cast<uint8_t>(low | high << 4);
        }
    const float d = half_at(p + 208);
    for (int g = 0; g < 16; ++g)
      emit(codes + 16 * g, 16, {d * static_cast<float>(static_cast<int8_t>(p[192 + g])), 32, 0},
           to + 16 * g);
  }
};

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
