// Products with at most kSmallM rows: weights of each format streamed in both layouts, alone, in
// groups and masked.
#include "gemm_cases.h"

#include <cstring>

namespace fathom::gemm_test {
namespace {

using kernels::GemmNT;
using kernels::kBlock128x128;
using kernels::kTile1x128;

constexpr Layout kStreamed[] = {Layout::kNT, Layout::kNN};
constexpr DType kFormats[] = {DType::kE4M3, DType::kBF16, DType::kF32};
constexpr GemmPrecision kPrecisions[] = {GemmPrecision::kBF16, GemmPrecision::kF32};

/// B in any format, E4M3 in 128x128 blocks.
struct Weights {
  Weights(Layout l, DType dtype, int64_t n, int64_t k, int64_t first_row, uint64_t seed)
      : rows(l == Layout::kNT ? n : k),
        cols(l == Layout::kNT ? k : n),
        scaled(dtype == DType::kE4M3 ? rows : 1, dtype == DType::kE4M3 ? cols : 1, kBlock128x128,
               first_row, seed),
        plain(dtype == DType::kE4M3 ? DType::kF32 : dtype, rows, cols, seed),
        input(dtype == DType::kE4M3 ? scaled.input : GemmInput(plain.view)) {}
  int64_t rows, cols;
  ScaledMatrix scaled;
  Matrix plain;
  GemmInput input;
};

void check(Context& ctx, Layout layout, DType dtype, int64_t m, int64_t n, int64_t k,
           int64_t first_row, DType c_dtype, GemmOptions options) {
  SCOPED_TRACE(describe(Case{layout, m, n, k, DType::kF32, dtype, c_dtype, options}) +
               " from row " + std::to_string(first_row));
  const Matrix a(DType::kF32, m, k, 1);
  const Weights b(layout, dtype, n, k, first_row, 2);
  Matrix c(c_dtype, m, n, 3);
  const Matrix before(c_dtype, m, n, 3);
  gemm(ctx, layout, a.view, b.input, c.view, options);
  expect_product(layout, a.view, b.input, c, before, options);
  EXPECT_TRUE(padding_untouched(c));
}

TEST(FewRows, EveryFormatNumberOfRowsAndPrecision) {
  TestContext t;
  for (Layout layout : kStreamed)
    for (DType dtype : kFormats)
      for (GemmPrecision precision : kPrecisions)
        for (int64_t m = 1; m <= kernels::kSmallM; ++m)
          check(t.ctx, layout, dtype, m, 67, 150, 0, DType::kF32, {precision, m % 2 == 0});
}

// Sizes around vectors, lines, tiles, blocks of scales and pieces of work.
TEST(FewRows, OddSizes) {
  TestContext t;
  for (Layout layout : kStreamed)
    for (DType dtype : kFormats)
      for (int64_t n : {1, 3, 16, 63, 129, 600})
        for (int64_t k : {1, 2, 31, 64, 127, 128, 130, 515})
          check(t.ctx, layout, dtype, 3, n, k, 0, DType::kF32, {});
}

TEST(FewRows, RowsOfALargerScaledMatrix) {
  TestContext t;
  for (Layout layout : kStreamed)
    for (int64_t first : {1, 8, 120, 127, 200})
      check(t.ctx, layout, DType::kE4M3, 2, 300, 300, first, DType::kF32, {});
}

TEST(FewRows, RoundsToBF16) {
  TestContext t;
  for (Layout layout : kStreamed)
    for (DType dtype : kFormats) check(t.ctx, layout, dtype, 5, 203, 96, 0, DType::kBF16, {});
}

// Infinite and NaN scales and codes spoil their own columns and nothing else, although K and N end
// within a vector.
TEST(FewRows, SpecialCodesAndScales) {
  TestContext t;
  for (Layout layout : kStreamed)
    for (float special : {std::nanf(""), std::numeric_limits<float>::infinity(), 0.0f}) {
      const int64_t m = 2, n = 142, k = 143;
      const Matrix a(DType::kF32, m, k, 1);
      const Weights b(layout, DType::kE4M3, n, k, 0, 2);
      *b.scaled.code(7, 4) = 0xff;
      set_element(b.scaled.scales, b.scaled.scales.view().cols() + 1, special);  // block (1, 1)
      Matrix c(DType::kF32, m, n, 3);
      gemm(t.ctx, layout, a.view, b.input, c.view, {});
      expect_product(layout, a.view, b.input, c, c, {});
    }
}

Matrix product(Context& ctx, Layout layout, const GemmInput& a, const GemmInput& b,
               GemmPrecision precision) {
  Matrix c(DType::kF32, a.rows(), layout == Layout::kNT ? b.rows() : b.cols(), 3);
  gemm(ctx, layout, a, b, c.view, {precision, false});
  return c;
}

void expect_same(const Matrix& some, const Matrix& all, int64_t first_row) {
  for (int64_t r = 0; r < some.view.rows(); ++r)
    for (int64_t c = 0; c < some.view.cols(); ++c)
      ASSERT_EQ(some.get(r, c), all.get(first_row + r, c)) << r << ", " << c;
}

TEST(FewRows, ARowDependsNeitherOnTheOthersNorOnThreads) {
  TestContext one(1), three(3);
  for (Layout layout : kStreamed)
    for (DType dtype : kFormats)
      for (GemmPrecision precision : kPrecisions) {
        const Matrix a(DType::kF32, kernels::kSmallM, 386, 1);
        const Weights b(layout, dtype, 700, 386, 0, 2);
        const Matrix all = product(one.ctx, layout, a.view, b.input, precision);
        for (int64_t m = 1; m <= kernels::kSmallM; ++m) {
          const int64_t first = kernels::kSmallM - m;
          const Matrix some =
              product(three.ctx, layout, GemmInput(a.view).row_range(first, m), b.input, precision);
          expect_same(some, all, first);
        }
      }
}

// Rows of A may be E4M3 with scales, and strided.
TEST(FewRows, ScaledRows) {
  TestContext t;
  for (Layout layout : kStreamed) {
    const ScaledMatrix a(6, 300, kTile1x128, 0, 1);
    const Weights b(layout, DType::kE4M3, 90, 300, 0, 2);
    const Matrix c = product(t.ctx, layout, a.input, b.input, GemmPrecision::kBF16);
    expect_product(layout, a.input, b.input, c, c, {});
  }
}

TEST(FewRows, ABatchHasTheBitsOfEachProductAlone) {
  TestContext t(3);
  const Matrix x(DType::kBF16, 4, 260, 1), y(DType::kF32, 30, 128, 2);
  const Weights gate(Layout::kNT, DType::kE4M3, 300, 260, 0, 3);
  const Weights up(Layout::kNT, DType::kE4M3, 300, 260, 0, 4);
  const Weights other(Layout::kNT, DType::kBF16, 65, 128, 0, 5);  // many rows: blocked
  Matrix c0(DType::kF32, 4, 300, 6), c1(DType::kF32, 4, 300, 7), c2(DType::kF32, 30, 65, 8);
  const GemmNT products[] = {
      {x.view, gate.input, c0.view}, {x.view, up.input, c1.view}, {y.view, other.input, c2.view}};
  kernels::batch_gemm_nt(t.ctx, products);
  expect_same(product(t.ctx, Layout::kNT, x.view, gate.input, GemmPrecision::kBF16), c0, 0);
  expect_same(product(t.ctx, Layout::kNT, x.view, up.input, GemmPrecision::kBF16), c1, 0);
  expect_same(product(t.ctx, Layout::kNT, y.view, other.input, GemmPrecision::kBF16), c2, 0);
}

TEST(FewRows, MaskedGroups) {
  TestContext t(3);
  const int64_t groups = 6, room = 20, n = 130, k = 200;
  const std::vector<int64_t> counts = {0, 1, 20, 3, 0, 16};
  const Matrix a(DType::kF32, groups * room, k, 1);
  Matrix c(DType::kF32, groups * room, n, 2);
  const Matrix before(DType::kF32, groups * room, n, 2);
  std::vector<Weights> w;
  std::vector<GemmInput> b;
  for (uint64_t g = 0; g < groups; ++g) w.emplace_back(Layout::kNT, DType::kE4M3, n, k, 0, 10 + g);
  for (const Weights& x : w) b.push_back(x.input);
  kernels::masked_gemm_nt(t.ctx, a.view, b, c.view, counts);
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t r = 0; r < room; ++r) {
      const int64_t row = g * room + r, count = counts[static_cast<size_t>(g)];
      if (r >= count)
        for (int64_t j = 0; j < n; ++j) ASSERT_EQ(c.get(row, j), before.get(row, j));
      else if (count <= kernels::kSmallM)
        expect_same(product(t.ctx, Layout::kNT, GemmInput(a.view).row_range(row, 1),
                            b[static_cast<size_t>(g)], GemmPrecision::kBF16),
                    c, row);
    }
}

}  // namespace
}  // namespace fathom::gemm_test
