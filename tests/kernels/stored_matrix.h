#pragma once

#include <cstring>
#include <string>

#include "gemm_cases.h"
#include "kernels/ref/weights.h"
#include "numerics/f16.h"
#include "numerics/gguf_blocks.h"
#include "numerics/group_int.h"

namespace fathom::gemm_test {

/// How a weight is stored, for tests.
struct Storage {
  StorageFormat format;
  int64_t group = 0;  ///< of integers; 0: whole rows
  DType scale = DType::kBF16;
  bool zeros = false;
};

inline std::string describe(const Storage& s) {
  std::string text = info_of(s.format).name;
  if (!is_grouped_int(s.format)) return text;
  text += " groups of " + std::to_string(s.group) + ", scales " + name_of(s.scale);
  return text + (s.zeros ? ", zero points" : "");
}

inline constexpr Storage kStorages[] = {{StorageFormat::kF16},
                                        {StorageFormat::kInt4, 32, DType::kBF16, false},
                                        {StorageFormat::kInt4, 128, DType::kF16, true},
                                        {StorageFormat::kInt4, 64, DType::kF32, true},
                                        {StorageFormat::kInt4, 96, DType::kF16, true},
                                        {StorageFormat::kInt4, 0, DType::kF32, false},
                                        {StorageFormat::kInt8, 32, DType::kF32, false},
                                        {StorageFormat::kInt8, 64, DType::kF16, true},
                                        {StorageFormat::kInt8, 0, DType::kBF16, false},
                                        {StorageFormat::kUint8, 128, DType::kBF16, true},
                                        {StorageFormat::kUint8, 64, DType::kF16, false},
                                        {StorageFormat::kQ8_0},
                                        {StorageFormat::kQ4_0},
                                        {StorageFormat::kQ4_K},
                                        {StorageFormat::kQ5_K},
                                        {StorageFormat::kQ6_K}};

/// A weight of random codes inside larger buffers of random bytes, `first_row` rows below the first
/// of its scales. Scales are no powers of two, so that rounding shows. `padding` bytes lie between
/// rows.
struct StoredMatrix {
  StoredMatrix(Storage s, int64_t rows, int64_t cols, int64_t first_row, uint64_t seed)
      : storage(s), rng(seed) {
    const FormatInfo info = info_of(s.format);
    const DType unit = s.format == StorageFormat::kF16    ? DType::kF16
                       : s.format == StorageFormat::kInt4 ? DType::kI32
                       : s.format == StorageFormat::kInt8 ? DType::kI8
                                                          : DType::kU8;
    const auto unit_bytes = static_cast<int64_t>(size_of(unit));
    const int64_t width = stored_bytes(s.format, cols) / unit_bytes, padding = 6;
    codes = Tensor(unit, {rows + 2, width + padding});
    fill_bytes(codes);
    const TensorView inside = codes.view().row_range(1, rows).col_range(padding / 2, width);
    if (is_grouped_int(s.format)) {
      const int64_t group = s.group > 0 ? s.group : cols, groups = (cols + group - 1) / group;
      make_scales(first_row + rows, groups);
      input = GemmInput::grouped_int(s.format, inside, cols, scales.view().col_range(0, groups),
                                     s.group, zeros ? zeros.view() : TensorView{});
    } else if (is_gguf_block(s.format)) {
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t b = 0; b < cols / info.block; ++b)
          set_block_scales(static_cast<uint8_t*>(inside.data) + r * inside.stride[0] +
                           b * info.block_bytes);
      input = GemmInput::gguf(s.format, inside, cols);
    } else {
      for (int64_t i = 0; i < rows * cols; ++i)
        static_cast<F16*>(inside.data)[i / cols * inside.stride[0] + i % cols] = half(i);
      input = ConstTensorView(inside);
    }
    input.first_row = first_row;
    values = Tensor(DType::kF32, {rows, cols});
    for (int64_t i = 0; i < rows * cols; ++i)
      values.as<float>()[i] = kernels::ref::weight_at(input, i / cols, i % cols);
  }

  void fill_bytes(const Tensor& t) const {
    for (size_t i = 0; i < t.view().bytes(); ++i)
      static_cast<uint8_t*>(t.view().data)[i] =
          static_cast<uint8_t>(rng.block(i / 16)[i / 4 % 4] >> (i % 4 * 8));
  }
  /// ±2^-6 … ±2^-2.
  float some_scale(int64_t i) const {
    const float u = rng.uniform(~static_cast<uint64_t>(i));
    return (i % 3 == 0 ? -1.0f : 1.0f) * std::exp2(u * 4 - 6);
  }
  F16 half(int64_t i) const { return to_f16(some_scale(i)); }

  void make_scales(int64_t rows, int64_t groups) {
    scales = Tensor(storage.scale, {rows, groups + 1});
    for (int64_t i = 0; i < rows * (groups + 1); ++i) {
      if (storage.scale == DType::kF16)
        static_cast<F16*>(scales.view().data)[i] = half(i);
      else
        set_element(scales, i, some_scale(i));
    }
    if (!storage.zeros) return;
    if (storage.format == StorageFormat::kInt8)
      zeros = Tensor(DType::kI8, {rows, groups});
    else
      zeros = Tensor(DType::kI32,
                     {(rows + 7) / (storage.format == StorageFormat::kInt4 ? 8 : 4) + 1, groups});
    fill_bytes(zeros);
  }

  void set_block_scales(uint8_t* block) {
    const auto set = [&](int64_t at) {
      const F16 h = half(next++);
      std::memcpy(block + at, &h, sizeof h);
    };
    set(storage.format == StorageFormat::kQ6_K ? 208 : 0);
    if (storage.format == StorageFormat::kQ4_K || storage.format == StorageFormat::kQ5_K) set(2);
  }

  /// What an element is made of where codes and what they are relative to are summed apart: at
  /// least |scale · (code - centre)| + |the rest|, for code - centre and centre - zero are at most
  /// half of what the bits of a code can say.
  float magnitude(int64_t r, int64_t c) const {
    const float value = std::abs(values.as<float>()[r * input.columns + c]);
    if (is_grouped_int(storage.format) && storage.zeros) {
      const int64_t at = (input.first_row + r) * scales.view().cols() + c / input.tile.cols;
      const float scale = storage.scale == DType::kF16
                              ? to_float(static_cast<const F16*>(scales.view().data)[at])
                              : element(scales, at);
      const float codes_of_all = storage.format == StorageFormat::kInt4 ? 16 : 256;
      return value + codes_of_all * std::abs(scale);
    }
    if (storage.format != StorageFormat::kQ4_K && storage.format != StorageFormat::kQ5_K)
      return value;
    const FormatInfo info = info_of(storage.format);
    const uint8_t* block = static_cast<const uint8_t*>(input.values.data) +
                           r * input.values.stride[0] + c / info.block * info.block_bytes;
    F16 dmin;
    std::memcpy(&dmin, block + 2, sizeof dmin);
    const int min = gguf::scale_min(block + 4, static_cast<int>(c % info.block / 32)).min;
    return value + 2 * std::abs(to_float(dmin)) * static_cast<float>(min);
  }

  Storage storage;
  Philox rng;
  int64_t next = 0;
  Tensor codes, scales, zeros;
  GemmInput input;
  Tensor values;  ///< F32 [rows, cols]: what is stored, by the scalar definitions
};

/// Columns that a format can have, near `cols`.
inline int64_t columns_of(const Storage& s, int64_t cols) {
  const int64_t block = is_gguf_block(s.format) ? info_of(s.format).block : 1;
  return (cols + block - 1) / block * block;
}

}  // namespace fathom::gemm_test
