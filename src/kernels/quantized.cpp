#include "kernels/quantized.h"

namespace fathom::kernels {
namespace {

int64_t bytes_of(const ConstTensorView& x) {
  return x ? static_cast<int64_t>(x.bytes()) : 0;
}

}  // namespace

StorageFormat GemmInput::plain_format(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return StorageFormat::kBF16;
    case DType::kF16:
      return StorageFormat::kF16;
    case DType::kE4M3:
      return StorageFormat::kE4M3;
    default:
      return StorageFormat::kF32;  // products check the dtype as well
  }
}

int64_t GemmInput::bytes() const {
  return rows() * stored_bytes(format, columns) + bytes_of(scale) + bytes_of(zero);
}

}  // namespace fathom::kernels
