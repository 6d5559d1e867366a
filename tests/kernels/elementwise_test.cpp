#include "kernels/elementwise.h"

#include "ops_test.h"

namespace fathom {
namespace {

using namespace kernels;

struct Shape {
  int64_t rows, cols, pad;
};
/// The first is contiguous and longer than a piece of the fixed partition.
constexpr Shape kShapes[] = {{3, 20001, 0}, {1, 1, 0}, {5, 7, 4}, {2, 33000, 6}, {300, 64, 2}};

TEST(Elementwise, Fill) {
  TestContext tc;
  for (const auto [rows, cols, pad] : kShapes)
    for (const DType type : kFloatTypes) {
      const Padded x(type, rows, cols, pad, 1);
      const Values before = values(x.memory);
      fill(tc.ctx, x.view, -1.5f);
      expect_values(x.view, Values(rows * cols, -1.5), 0, 0);
      double others = 0;
      for (int64_t i = 0; i < rows * (cols + pad); ++i)
        others += element(x.memory, i) != static_cast<float>(before[i]);
      EXPECT_LE(others, rows * cols);
    }
}

TEST(Elementwise, Copy) {
  TestContext tc;
  for (const auto [rows, cols, pad] : kShapes)
    for (const DType tx : kFloatTypes)
      for (const DType ty : kFloatTypes) {
        const Padded x(tx, rows, cols, pad, 1), y(ty, rows, cols, 0, 2);
        copy(tc.ctx, x.view, y.view);
        expect_values(y.view, values(x.view), 0, tx == ty ? 0 : rounding_of(ty));
      }
}

// The scalar definition decides about ties, NaN, infinities and subnormals.
TEST(Elementwise, CopyRoundsAsTheScalarDefinition) {
  TestContext tc;
  const int64_t n = 1 << 20;
  const Tensor x(DType::kF32, {n}), y(DType::kBF16, {n});
  for (int64_t i = 0; i < n; ++i)  // every sign and exponent, mantissas around the ties
    x.as<float>()[i] = std::bit_cast<float>(static_cast<uint32_t>(i * 4096 + (i % 3) - 1 + 0x8000));
  copy(tc.ctx, x, y);
  for (int64_t i = 0; i < n; ++i)
    ASSERT_EQ(y.as<BF16>()[i].bits, to_bf16(x.as<float>()[i]).bits) << x.as<float>()[i];
}

// One product and one sum.
TEST(Elementwise, AddScaled) {
  TestContext tc;
  for (const auto [rows, cols, pad] : kShapes)
    for (const DType tx : kFloatTypes) {
      const Padded x(tx, rows, cols, pad, 1), y(DType::kF32, rows, cols, 8, 2);
      Values expected = values(y.view);
      const Values vx = values(x.view);
      for (size_t i = 0; i < vx.size(); ++i) expected[i] += 0.3f * vx[i];
      add_scaled(tc.ctx, 0.3f, x.view, y.view);
      expect_values(y.view, expected, 2 * kRoundF32 * 0.3 * max_abs(vx), kRoundF32);
    }
}

// FP64 sums of n terms: relative error below n·2^-53 of Σ|x|.
TEST(Elementwise, Sums) {
  TestContext tc;
  for (const auto [rows, cols, pad] : kShapes)
    for (const DType tx : kFloatTypes) {
      const Padded x(tx, rows, cols, pad, 1);
      double total = 0, squares = 0, magnitude = 0;
      for (const double v : values(x.view)) total += v, squares += v * v, magnitude += std::abs(v);
      const double error = static_cast<double>(rows * cols) * 0x1p-53;
      EXPECT_NEAR(sum(tc.ctx, x.view), total, error * magnitude);
      EXPECT_NEAR(sum_of_squares(tc.ctx, x.view), squares, error * squares);
    }
}

TEST(Elementwise, SumsPropagateNanAndInfinity) {
  TestContext tc;
  const Tensor x = random_tensor(DType::kF32, {40000}, 1);
  x.as<float>()[39999] = -INFINITY;
  EXPECT_EQ(sum(tc.ctx, x), -INFINITY);
  EXPECT_EQ(sum_of_squares(tc.ctx, x), INFINITY);
  x.as<float>()[17] = NAN;
  EXPECT_TRUE(std::isnan(sum(tc.ctx, x)));
  EXPECT_TRUE(std::isnan(sum_of_squares(tc.ctx, x)));
  EXPECT_EQ(sum(tc.ctx, x.view().row_range(0, 0)), 0);
}

TEST(Elementwise, SameBitsForAnyTeam) {
  const Tensor x = random_tensor(DType::kF32, {100003}, 1);
  expect_same_for_threads([&](Context& ctx) {
    const Tensor y = random_tensor(DType::kF32, {100003}, 2);
    add_scaled(ctx, 0.7f, x, y);
    auto out = bits(y);
    for (const double total : {sum(ctx, x), sum_of_squares(ctx, x)})
      for (const std::byte b : std::bit_cast<std::array<std::byte, 8>>(total)) out.push_back(b);
    return out;
  });
}

}  // namespace
}  // namespace fathom
