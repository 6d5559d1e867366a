#include "checkpoint/widen.h"

#include <cstring>

#include "numerics/bf16.h"
#include "numerics/f16.h"
#include "numerics/ue8m0.h"

namespace fathom {
namespace {

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
      convert<F16>(x, out, [](F16 v) { return to_float(v); });
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
