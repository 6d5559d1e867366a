#include "checkpoint/widen.h"

#include <cstring>

#include "numerics/bf16.h"
#include "numerics/small_float.h"
#include "numerics/ue8m0.h"

namespace fathom {
namespace {

float from_f16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16, magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00)
    return std::bit_cast<float>(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  const float value = small_float_magnitude<10, 15>(magnitude);
  return sign ? -value : value;
}

template <class Stored, class Convert>
void convert(const ConstTensorView& x, float* out, Convert to) {
  const auto* in = static_cast<const Stored*>(x.data);
  for (int64_t i = 0; i < x.elements(); ++i) out[i] = to(in[i]);
}

}  // namespace

Tensor widen(const ConstTensorView& x) {
  FATHOM_ASSERT(x.contiguous() && (x.rank == 1 || x.rank == 2));
  Tensor wide = x.rank == 1 ? Tensor(DType::kF32, {x.shape[0]})
                            : Tensor(DType::kF32, {x.shape[0], x.shape[1]});
  float* out = wide.as<float>();
  switch (x.dtype) {
    case DType::kF32:
      std::memcpy(out, x.data, x.bytes());
      break;
    case DType::kBF16:
      convert<BF16>(x, out, [](BF16 v) { return to_float(v); });
      break;
    case DType::kF16:
      convert<uint16_t>(x, out, from_f16);
      break;
    case DType::kE8M0:
      convert<UE8M0>(x, out, [](UE8M0 v) { return to_float(v); });
      break;
    default:
      FATHOM_ASSERT(false);
  }
  return wide;
}

}  // namespace fathom
