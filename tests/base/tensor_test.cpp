#include "base/tensor.h"

#include <gtest/gtest.h>

#include "numerics/bf16.h"

namespace fathom {
namespace {

TEST(TensorView, SlicesShareMemory) {
  Tensor t(DType::kF32, {4, 6});
  const TensorView part = t.view().row_range(1, 2).col_range(2, 3);
  part.matrix<float>()(1, 0) = 7;
  EXPECT_EQ(t.as<float>()[2 * 6 + 2], 7);
  EXPECT_FALSE(part.contiguous());
  EXPECT_EQ(describe(part), "F32 [2, 3]");
}

TEST(TensorView, ReshapeKeepsElements) {
  Tensor t(DType::kBF16, {2, 6});
  const TensorView v = t.view().reshape({3, 2, 2});
  EXPECT_EQ(v.rank, 3);
  EXPECT_EQ(v.stride[0], 4);
}

TEST(Tensor, IsZeroedAndAligned) {
  Tensor t(DType::kF32, {1 << 20});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(t.view().data) % 64, 0u);
  for (int i = 0; i < 1 << 20; i += 4097) EXPECT_EQ(t.as<float>()[i], 0);
}

TEST(Bf16, EveryValueRoundTripsAndTiesGoToEven) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const BF16 x{static_cast<uint16_t>(bits)};
    const BF16 y = to_bf16(to_float(x));
    if (to_float(x) != to_float(x))
      EXPECT_NE(to_float(y), to_float(y));
    else
      EXPECT_EQ(y.bits, x.bits);
  }
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808000u)).bits, 0x3f80);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f818000u)).bits, 0x3f82);
  EXPECT_EQ(to_bf16(3.4e38f).bits, 0x7f80);
}

}  // namespace
}  // namespace fathom
