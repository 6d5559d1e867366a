#include "kernels/stored_weights.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/checks.h"
#include "kernels/cpu/gemm_decode.h"
#include "kernels/quantize.h"
#include "numerics/bf16.h"
#include "numerics/f16.h"
#include "numerics/gguf_blocks.h"
#include "numerics/group_int.h"

namespace fathom::kernels {
namespace {

using cpu::GemmOperand;

template <class T>
T* row_of(const TensorView& x, int64_t r) {
  return static_cast<T*>(x.data) + r * x.stride[0];
}

/// Rounds to the type of an array of scales and stores; returns what was stored.
float store_scale(const TensorView& scale, int64_t r, int64_t c, float value) {
  if (scale.dtype == DType::kBF16) return to_float(row_of<BF16>(scale, r)[c] = to_bf16(value));
  if (scale.dtype == DType::kF16) return to_float(row_of<F16>(scale, r)[c] = to_f16(value));
  return row_of<float>(scale, r)[c] = value;
}

/// One row to integers.
class IntRowEncoder {
 public:
  IntRowEncoder(const GroupedIntOutput& to, int64_t columns)
      : to_(to),
        columns_(columns),
        group_(to.group > 0 ? to.group : columns),
        bits_(to.format == StorageFormat::kInt4 ? 4 : 8) {}

  void encode(int64_t r, const float* x) const {
    for (int64_t g = 0, begin = 0; begin < columns_; ++g, begin += group_) {
      const int64_t count = std::min(group_, columns_ - begin);
      IntGroup group = int_group_of({x + begin, static_cast<size_t>(count)}, bits_, !to_.zero);
      const float stored = store_scale(to_.scale, r, g, group.scale);
      // Too small for the storage type: as for a group of zeros.
      group.scale = stored > 0 ? stored : store_scale(to_.scale, r, g, kLeastScale);
      if (to_.zero) store_zero(r, g, group.zero);
      for (int64_t i = begin; i < begin + count; ++i)
        store_code(r, i, encode_int(group, bits_, x[i]));
    }
  }

 private:
  static constexpr float kLeastScale = std::numeric_limits<float>::epsilon();

  void store_zero(int64_t r, int64_t g, int zero) const {
    if (to_.zero.dtype == DType::kI8)
      row_of<int8_t>(to_.zero, r)[g] = static_cast<int8_t>(zero);
    else
      set_packed_int(row_of<uint32_t>(to_.zero, r / (32 / bits_))[g], bits_, r, zero);
  }
  void store_code(int64_t r, int64_t i, int q) const {
    if (to_.format == StorageFormat::kInt4)
      set_packed_int(row_of<uint32_t>(to_.codes, r)[i / 8], 4, i, q);
    else if (to_.format == StorageFormat::kInt8)
      row_of<int8_t>(to_.codes, r)[i] = static_cast<int8_t>(q);
    else
      row_of<uint8_t>(to_.codes, r)[i] = static_cast<uint8_t>(q + 128);
  }

  const GroupedIntOutput& to_;
  const int64_t columns_, group_;
  const int bits_;
};

/// encode(row, its values) for rows of F32, BF16 or F16; rows that share a word of zero points stay
/// with one thread.
template <class Encode>
void for_rows(Context& ctx, const ConstTensorView& w, Encode encode) {
  constexpr int64_t kRowsAWord = 8;
  const auto& decode = cpu::decode_kernels(ctx.isa, GemmInput::plain_format(w.dtype));
  const GemmOperand rows = cpu::operand_of(w, true);
  ctx.pool.for_range(w.rows(), kRowsAWord, [&](int64_t begin, int64_t end, int) {
    std::vector<float> x(static_cast<size_t>(w.cols()));
    for (int64_t r = begin; r < end; ++r) {
      decode.to_f32(rows, r, {0, w.cols()}, 0, x.data());
      encode(r, x.data());
    }
  });
}

/// A word of a file, which need not be aligned.
uint32_t word_at(const ConstTensorView& x, int64_t r, int64_t c) {
  uint32_t word;
  std::memcpy(&word, static_cast<const std::byte*>(x.data) + (r * x.stride[0] + c) * 4,
              sizeof word);
  return word;
}

/// Columns [8w, 8w + 8) of AWQ's codes at rows [8k, 8k + 8) become rows of our words.
void turn_awq(const ConstTensorView& qweight, int64_t k, int64_t w, const TensorView& to) {
  uint32_t words[8] = {};
  for (int64_t i = 0; i < 8; ++i)
    for (int64_t n = 0; n < 8; ++n)
      set_packed_int(words[n], 4, i, awq_int(word_at(qweight, 8 * k + i, w), n));
  for (int64_t n = 0; n < 8; ++n) row_of<uint32_t>(to, 8 * w + n)[k] = words[n];
}

/// [G, N] to [N, G], of F32 or of 16 bits.
void turn_awq_scales(const ConstTensorView& scales, const TensorView& to) {
  const auto bytes = static_cast<int64_t>(size_of(scales.dtype));
  for (int64_t g = 0; g < scales.rows(); ++g)
    for (int64_t n = 0; n < scales.cols(); ++n)
      std::memcpy(row_of<std::byte>(to, 0) + (n * to.stride[0] + g) * bytes,
                  static_cast<const std::byte*>(scales.data) + (g * scales.stride[0] + n) * bytes,
                  static_cast<size_t>(bytes));
}

void turn_awq_zeros(const ConstTensorView& qzeros, const TensorView& to) {
  for (int64_t g = 0; g < qzeros.rows(); ++g)
    for (int64_t w = 0; w < qzeros.cols(); ++w) {
      const uint32_t from = word_at(qzeros, g, w);
      uint32_t& word = row_of<uint32_t>(to, w)[g];
      for (int64_t n = 0; n < 8; ++n) set_packed_int(word, 4, n, awq_int(from, n));
    }
}

}  // namespace

void decode_weights(Context& ctx, const GemmInput& w, TensorView to) {
  constexpr const char* kKernel = "decode_weights";
  check_same_device(kKernel, ctx, {w.values, to});
  cpu::check_weight(kKernel, "w", w);
  check_shape(kKernel, "to", to, {w.rows(), w.cols()});
  check_dtype(kKernel, "to", to, {DType::kF32, DType::kBF16});
  if (w.format == StorageFormat::kE4M3)
    return dequantize(ctx, {w.values, w.scale, w.tile, w.first_row}, to);
  const auto& decode = cpu::decode_kernels(ctx.isa, w.format);
  const GemmOperand rows = cpu::operand_of(w, true);
  ctx.pool.for_range(w.rows(), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      if (to.dtype == DType::kBF16)
        decode.to_bf16(rows, r, {0, w.cols()}, 0, row_of<BF16>(to, r));
      else
        decode.to_f32(rows, r, {0, w.cols()}, 0, row_of<float>(to, r));
  });
}

void quantize_grouped_int(Context& ctx, ConstTensorView w, const GroupedIntOutput& to) {
  constexpr const char* kKernel = "quantize_grouped_int";
  check_same_device(kKernel, ctx, {w, to.codes, to.scale, to.zero});
  check_dtype(kKernel, "w", w, {DType::kF32, DType::kBF16, DType::kF16});
  cpu::check_weight(kKernel, "to", to.input(w.cols()));
  const IntRowEncoder encoder(to, w.cols());
  for_rows(ctx, w, [&](int64_t r, const float* x) { encoder.encode(r, x); });
}

void quantize_gguf(Context& ctx, ConstTensorView w, StorageFormat format, TensorView to) {
  constexpr const char* kKernel = "quantize_gguf";
  FATHOM_ASSERT(format == StorageFormat::kQ8_0 || format == StorageFormat::kQ4_0);
  check_same_device(kKernel, ctx, {w, to});
  check_dtype(kKernel, "w", w, {DType::kF32, DType::kBF16, DType::kF16});
  cpu::check_weight(kKernel, "to", GemmInput::gguf(format, to, w.cols()));
  const FormatInfo info = info_of(format);
  const auto encode = format == StorageFormat::kQ8_0 ? gguf::encode_q8_0 : gguf::encode_q4_0;
  for_rows(ctx, w, [&](int64_t r, const float* x) {
    for (int64_t b = 0; b < w.cols() / info.block; ++b)
      encode(x + b * info.block, row_of<uint8_t>(to, r) + b * info.block_bytes);
  });
}

void repack_awq(Context& ctx, ConstTensorView qweight, ConstTensorView qzeros,
                ConstTensorView scales, const GroupedIntOutput& to) {
  constexpr const char* kKernel = "repack_awq";
  const int64_t K = qweight.rows(), words = qweight.cols(), N = 8 * words;
  check_same_device(kKernel, ctx, {qweight, qzeros, scales, to.codes, to.scale, to.zero});
  FATHOM_ASSERT(K % 8 == 0 && to.format == StorageFormat::kInt4 && scales.cols() == N);
  FATHOM_ASSERT(scales.dtype == to.scale.dtype && !qzeros == !to.zero);
  check_dtype(kKernel, "qweight", qweight, {DType::kI32});
  cpu::check_weight(kKernel, "to", to.input(K));
  // Squares of a cache line of words both ways.
  constexpr int64_t kSide = 16;
  ctx.pool.for_each((words + kSide - 1) / kSide, [&](int64_t column, int) {
    const int64_t first = column * kSide, last = std::min(words, first + kSide);
    for (int64_t k0 = 0; k0 < K / 8; k0 += kSide)
      for (int64_t w = first; w < last; ++w)
        for (int64_t k = k0; k < std::min(K / 8, k0 + kSide); ++k)
          turn_awq(qweight, k, w, to.codes);
  });
  turn_awq_scales(scales, to.scale);
  if (qzeros) turn_awq_zeros(qzeros, to.zero);
}

}  // namespace fathom::kernels
