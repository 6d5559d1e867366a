#pragma once

// A class for each storage format: a row of it, of which whole units of elements are decoded. These
// spell codes out as bytes and convert them lane by lane, on any instruction set;
// gemm_decode_vbmi.h has faster ones. For files compiled once per instruction set.

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

/// F32, BF16 or F16: each element has its own address.
template <class From>
struct PlainRow {
  static constexpr int64_t kUnit = 16, kUnitBytes = kUnit * static_cast<int64_t>(sizeof(From));
  PlainRow(const GemmOperand&, int64_t) {}
  template <class T>
  void decode(const std::byte* from, int64_t, T* to) const {
    for (int64_t i = 0; i < kUnit; i += kLanes) {
      From lanes[kLanes];
      std::memcpy(lanes, from + i * static_cast<int64_t>(sizeof(From)), sizeof lanes);
      store(to + i, load(lanes, Full{}), Full{});
    }
  }
};

/// The scale and zero point of groups of one row of integers, the zero point as codes are offset.
template <StorageFormat kFormat>
class GroupRow {
 public:
  GroupRow(const GemmOperand& x, int64_t r) : x_(x), row_(x.first_row + r) {}

  int64_t group_of(int64_t element) const { return element / x_.tile.cols; }
  Affine at(int64_t group) const { return {scale(group), zero(group), 0}; }

 private:
  static constexpr int kBits = kFormat == StorageFormat::kInt4 ? 4 : 8;
  static constexpr int64_t kPerWord = 32 / kBits;

  template <class T>
  static T load_at(const ParameterRows& p, int64_t r, int64_t c) {
    T x;
    std::memcpy(&x, static_cast<const T*>(p.data) + r * p.stride + c, sizeof x);
    return x;
  }
  float scale(int64_t group) const {
    if (x_.scale.dtype == DType::kBF16) return to_float(load_at<BF16>(x_.scale, row_, group));
    if (x_.scale.dtype == DType::kF16) return f16_to_float(load_at<F16>(x_.scale, row_, group));
    return load_at<float>(x_.scale, row_, group);
  }
  float zero(int64_t group) const {
    constexpr int kOffset = 1 << (kBits - 1);
    if (!x_.zero.data) return kOffset;
    if (x_.zero.dtype == DType::kI8)
      return static_cast<float>(load_at<int8_t>(x_.zero, row_, group) + kOffset);
    const auto word = load_at<uint32_t>(x_.zero, row_ / kPerWord, group);
    return static_cast<float>((word >> (row_ % kPerWord * kBits)) & ((1u << kBits) - 1));
  }

  const GemmOperand& x_;
  int64_t row_;
};

template <StorageFormat kFormat>
struct IntRow {
  static constexpr int64_t kUnit = 32, kUnitBytes = kFormat == StorageFormat::kInt4 ? 16 : 32;
  IntRow(const GemmOperand& x, int64_t r) : groups_(x, r) {}
  template <class T>
  void decode(const std::byte* from, int64_t unit, T* to) {
    const uint8_t* p = bytes_at(from);
    uint8_t codes[kUnit];
    for (int64_t i = 0; i < kUnit; ++i) {
      if constexpr (kFormat == StorageFormat::kInt4)
        codes[i] = static_cast<uint8_t>(i % 2 ? p[i / 2] >> 4 : p[i / 2] & 15);
      else
        codes[i] = static_cast<uint8_t>(kFormat == StorageFormat::kInt8 ? p[i] ^ 0x80 : p[i]);
    }
    emit(codes, kUnit, groups_.at(groups_.group_of(unit * kUnit)), to);
  }

 private:
  GroupRow<kFormat> groups_;
};

/// Of GGUF blocks, a unit is a block.
template <StorageFormat kFormat>
struct BlockRow {
  static constexpr int64_t kUnit = info_of(kFormat).block;
  static constexpr int64_t kUnitBytes = info_of(kFormat).block_bytes;
  BlockRow(const GemmOperand&, int64_t) {}
  template <class T>
  void decode(const std::byte* from, int64_t, T* to) const {
    decode_block(bytes_at(from), to);
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

  static float half_at(const uint8_t* p) {
    F16 h;
    std::memcpy(&h, p, sizeof h);
    return f16_to_float(h);
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
