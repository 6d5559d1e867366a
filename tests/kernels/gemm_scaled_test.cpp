// Products of E4M3 operands with scales, whatever tile each scale is for.
#include "gemm_cases.h"

namespace fathom::gemm_test {
namespace {

using kernels::kBlock128x128;
using kernels::kTile128x1;
using kernels::kTile1x128;
using kernels::ScaleTile;

constexpr ScaleTile kTiles[] = {kTile1x128, kTile128x1, kBlock128x128};

struct ScaledCase {
  Layout layout;
  int64_t m, n, k;
  ScaleTile a, b;
  int64_t first_row = 0;
  GemmOptions options;
};

std::string describe(const ScaledCase& x) {
  const auto tile = [](ScaleTile t) {
    return " " + std::to_string(t.rows) + "x" + std::to_string(t.cols);
  };
  return describe(
             Case{x.layout, x.m, x.n, x.k, DType::kE4M3, DType::kE4M3, DType::kF32, x.options}) +
         tile(x.a) + tile(x.b) + " from row " + std::to_string(x.first_row);
}

ScaledMatrix scaled_a(const ScaledCase& x) {
  return x.layout == Layout::kTN ? ScaledMatrix(x.k, x.m, x.a, x.first_row, 1)
                                 : ScaledMatrix(x.m, x.k, x.a, x.first_row, 1);
}
ScaledMatrix scaled_b(const ScaledCase& x) {
  return x.layout == Layout::kNT ? ScaledMatrix(x.n, x.k, x.b, x.first_row, 2)
                                 : ScaledMatrix(x.k, x.n, x.b, x.first_row, 2);
}

void check(Context& ctx, const ScaledCase& x) {
  SCOPED_TRACE(describe(x));
  const ScaledMatrix a = scaled_a(x), b = scaled_b(x);
  Matrix c(DType::kF32, x.m, x.n, 3);
  const Matrix before(DType::kF32, x.m, x.n, 3);
  gemm(ctx, x.layout, a.input, b.input, c.view, x.options);
  expect_product(x.layout, a.input, b.input, c, before, x.options);
  EXPECT_TRUE(padding_untouched(c));
}

TEST(ScaledGemm, EveryTileLayoutAndPrecision) {
  TestContext t;
  for (Layout layout : kLayouts)
    for (ScaleTile a : kTiles)
      for (ScaleTile b : kTiles)
        for (GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16})
          for (int64_t m : {5, 131})
            check(t.ctx, {layout, m, 33, 260, a, b, 0, {precision, m == 5}});
}

// Rows of a larger matrix: tiles of 128 rows end anywhere, also within a vector.
TEST(ScaledGemm, FirstRowNeedNotBeAMultipleOfTheTile) {
  TestContext t;
  for (Layout layout : kLayouts)
    for (ScaleTile tile : kTiles)
      for (int64_t first : {1, 127, 130, 300})
        for (GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16})
          check(t.ctx, {layout, 20, 140, 150, tile, tile, first, {precision, false}});
}

TEST(ScaledGemm, OddSizes) {
  TestContext t;
  for (Layout layout : kLayouts)
    for (ScaleTile tile : kTiles)
      for (int64_t m : {0, 1, 17, 33})
        for (int64_t n : {1, 31})
          for (int64_t k : {0, 1, 127, 129}) check(t.ctx, {layout, m, n, k, tile, tile, 0, {}});
}

TEST(ScaledGemm, MeetsOtherDtypes) {
  TestContext t;
  for (Layout layout : kLayouts)
    for (DType dtype : kInputs) {
      const ScaledCase x{layout, 40, 50, 260, kTile1x128, kBlock128x128, 0, {}};
      const ScaledMatrix a = scaled_a(x), b = scaled_b(x);
      const Matrix plain_a = operand_a(layout, dtype, x.m, x.k, 1);
      const Matrix plain_b = operand_b(layout, dtype, x.n, x.k, 2);
      Matrix c(DType::kF32, x.m, x.n, 3), d(DType::kF32, x.m, x.n, 3);
      gemm(t.ctx, layout, a.input, plain_b.view, c.view, {});
      expect_product(layout, a.input, plain_b.view, c, c, {});
      gemm(t.ctx, layout, plain_a.view, b.input, d.view, {});
      expect_product(layout, plain_a.view, b.input, d, d, {});
    }
}

// NaN codes and scales that are NaN, infinite or zero spoil what they belong to and nothing else,
// although K ends within a vector.
TEST(ScaledGemm, SpecialCodesAndScales) {
  TestContext t;
  for (Layout layout : kLayouts)
    for (float special : {std::nanf(""), std::numeric_limits<float>::infinity(), 0.0f}) {
      const ScaledCase x{layout, 40, 30, 141, kTile1x128, kTile1x128, 0, {}};
      const ScaledMatrix a = scaled_a(x), b = scaled_b(x);
      *a.code(3, 20) = 0x7f;
      *b.code(7, 4) = 0xff;
      set_element(a.scales, 5 * a.scales.view().cols(), special);
      set_element(b.scales, 2 * b.scales.view().cols(), special);
      Matrix c(DType::kF32, x.m, x.n, 3);
      gemm(t.ctx, layout, a.input, b.input, c.view, {});
      expect_product(layout, a.input, b.input, c, c, {});
    }
}

// Power-of-two scales make every value a BF16: the product is that of BF16 matrices, bit for bit.
TEST(ScaledGemm, PowerOfTwoScalesAreExactInBF16) {
  TestContext t;
  for (int64_t m : {17, 60}) {
    const int64_t n = 70, k = 300;
    const ScaledMatrix a(m, k, kTile1x128, 0, 1), b(n, k, kBlock128x128, 0, 2);
    for (const ScaledMatrix* x : {&a, &b})
      for (int64_t i = 0; i < x->scales.view().elements(); ++i)
        set_element(x->scales, i, std::exp2(static_cast<float>(i % 9 - 4)));
    Matrix a_bf16(DType::kBF16, m, k, 0), b_bf16(DType::kBF16, n, k, 0);
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t r = 0; r < m; ++r)
        a_bf16.set(r, i, static_cast<float>(kernels::ref::input_at(a.input, r, i)));
      for (int64_t r = 0; r < n; ++r)
        b_bf16.set(r, i, static_cast<float>(kernels::ref::input_at(b.input, r, i)));
    }
    Matrix c(DType::kF32, m, n, 3), expected(DType::kF32, m, n, 4);
    kernels::gemm_nt(t.ctx, a.input, b.input, c.view);
    kernels::gemm_nt(t.ctx, a_bf16.view, b_bf16.view, expected.view);
    for (int64_t i = 0; i < m * n; ++i)
      ASSERT_EQ(c.get(i / n, i % n), expected.get(i / n, i % n)) << i;
  }
}

TEST(ScaledGemm, GroupsByRowsAndByK) {
  TestContext t(3);
  const std::vector<int64_t> offsets = {3, 3, 4, 200, 201, 330};
  const size_t groups = offsets.size() - 1;
  const int64_t rows = 340, n = 50, k = 140;
  const ScaledMatrix a(rows, k, kTile1x128, 7, 1), dy(rows, n, kTile128x1, 7, 2);
  std::vector<ScaledMatrix> b;
  std::vector<GemmInput> b_views;
  for (uint64_t g = 0; g < groups; ++g) b.emplace_back(n, k, kBlock128x128, 0, 10 + g);
  for (const ScaledMatrix& x : b) b_views.push_back(x.input);
  Matrix c(DType::kF32, rows, n, 4);
  kernels::grouped_gemm_nt(t.ctx, a.input, b_views, c.view, offsets);
  std::vector<Matrix> dw;
  std::vector<TensorView> dw_views;
  for (uint64_t g = 0; g < groups; ++g) dw.emplace_back(DType::kF32, n, k, 20 + g);
  for (const Matrix& x : dw) dw_views.push_back(x.view);
  kernels::grouped_gemm_tn(t.ctx, dy.input, a.input, dw_views, offsets);
  for (size_t g = 0; g < groups; ++g) {
    const int64_t begin = offsets[g], count = offsets[g + 1] - begin;
    const GemmInput a_g = a.input.row_range(begin, count);
    Matrix part(DType::kF32, count, n, 0);
    for (int64_t i = 0; i < count * n; ++i) part.set(i / n, i % n, c.get(begin + i / n, i % n));
    expect_product(Layout::kNT, a_g, b_views[g], part, part, {});
    expect_product(Layout::kTN, dy.input.row_range(begin, count), a_g, dw[g], dw[g], {});
  }
}

}  // namespace
}  // namespace fathom::gemm_test
