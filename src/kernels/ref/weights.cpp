#include "kernels/ref/weights.h"

#include <vector>

#include "numerics/bf16.h"
#include "numerics/e4m3.h"
#include "numerics/f16.h"
#include "numerics/gguf_blocks.h"
#include "numerics/group_int.h"

namespace fathom::kernels::ref {
namespace {

template <class T>
T at(const ConstTensorView& x, int64_t r, int64_t c) {
  return static_cast<const T*>(x.data)[r * x.stride[0] + c];
}

float plain_at(const ConstTensorView& x, int64_t r, int64_t c) {
  switch (x.dtype) {
    case DType::kBF16:
      return to_float(at<BF16>(x, r, c));
    case DType::kF16:
      return to_float(at<F16>(x, r, c));
    case DType::kE4M3:
      return to_float(at<E4M3>(x, r, c));
    default:
      return at<float>(x, r, c);
  }
}

int code_at(const GemmInput& x, int64_t r, int64_t c) {
  if (x.format == StorageFormat::kInt4) return packed_int(at<uint32_t>(x.values, r, c / 8), 4, c);
  if (x.format == StorageFormat::kInt8) return at<int8_t>(x.values, r, c);
  return at<uint8_t>(x.values, r, c) - 128;
}

int zero_at(const GemmInput& x, int64_t r, int64_t group) {
  if (!x.zero) return 0;
  if (x.zero.dtype == DType::kI8) return at<int8_t>(x.zero, r, group);
  const int bits = x.format == StorageFormat::kInt4 ? 4 : 8;
  return packed_int(at<uint32_t>(x.zero, r / (32 / bits), group), bits, r);
}

float grouped_int_at(const GemmInput& x, int64_t r, int64_t c) {
  const int64_t row = x.first_row + r, group = c / x.tile.cols;
  return decode_int({plain_at(x.scale, row, group), zero_at(x, row, group)}, code_at(x, r, c));
}

float gguf_at(const GemmInput& x, int64_t r, int64_t c) {
  const FormatInfo info = info_of(x.format);
  float values[256];
  const auto* row = static_cast<const uint8_t*>(x.values.data) + r * x.values.stride[0];
  gguf::decode_block(x.format, row + c / info.block * info.block_bytes, values);
  return values[c % info.block];
}

}  // namespace

float weight_at(const GemmInput& x, int64_t r, int64_t c) {
  if (is_grouped_int(x.format)) return grouped_int_at(x, r, c);
  if (is_gguf_block(x.format)) return gguf_at(x, r, c);
  const float value = plain_at(x.values, r, c);
  if (x.format != StorageFormat::kE4M3) return value;
  return value * plain_at(x.scale, (x.first_row + r) / x.tile.rows, c / x.tile.cols);
}

}  // namespace fathom::kernels::ref
