#pragma once

#include <string>
#include <vector>

#include "base/tensor.h"
#include "numerics/bf16.h"

namespace fathom {

/// The tensors of tests/oracle/make_checkpoint_fixtures.py: [3,5] of i - 3 (i for U8), as bytes.
inline std::vector<uint8_t> ramp_bytes(DType dtype) {
  std::vector<uint8_t> bytes;
  const auto push = [&](auto value) {
    const auto* p = reinterpret_cast<const uint8_t*>(&value);
    bytes.insert(bytes.end(), p, p + sizeof value);
  };
  // -3 … 11 as bits.
  constexpr uint8_t kE4M3[] = {0xc4, 0xc0, 0xb8, 0x00, 0x38, 0x40, 0x44, 0x48,
                               0x4a, 0x4c, 0x4e, 0x50, 0x51, 0x52, 0x53};
  constexpr uint16_t kF16[] = {0xc200, 0xc000, 0xbc00, 0x0000, 0x3c00, 0x4000, 0x4200, 0x4400,
                               0x4500, 0x4600, 0x4700, 0x4800, 0x4880, 0x4900, 0x4980};
  for (int i = 0; i < 15; ++i) {
    switch (dtype) {
      case DType::kF64:
        push(static_cast<double>(i - 3));
        break;
      case DType::kF32:
        push(static_cast<float>(i - 3));
        break;
      case DType::kBF16:
        push(to_bf16(static_cast<float>(i - 3)).bits);
        break;
      case DType::kF16:
        push(kF16[i]);
        break;
      case DType::kE4M3:
        push(kE4M3[i]);
        break;
      case DType::kI64:
        push(static_cast<int64_t>(i - 3));
        break;
      case DType::kI32:
        push(static_cast<int32_t>(i - 3));
        break;
      case DType::kI8:
        push(static_cast<int8_t>(i - 3));
        break;
      case DType::kU8:
      case DType::kE8M0:
        push(static_cast<uint8_t>(i));
        break;
    }
  }
  return bytes;
}

struct RampTensor {
  std::string name;
  DType dtype;
  std::vector<uint8_t> bytes;

  explicit RampTensor(DType d, const char* n = nullptr)
      : name(n ? n : name_of(d)), dtype(d), bytes(ramp_bytes(d)) {}
  ConstTensorView view() const { return {bytes.data(), dtype, {3, 5}}; }
};

inline std::vector<RampTensor> all_ramps() {
  std::vector<RampTensor> ramps;
  for (const DType d : {DType::kU8, DType::kE4M3, DType::kBF16, DType::kF16, DType::kI32,
                        DType::kF32, DType::kI64, DType::kF64}) {
    ramps.emplace_back(d);
  }
  return ramps;
}

}  // namespace fathom
