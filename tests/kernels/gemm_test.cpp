// The matrix products against their definition, and what the contract promises bit for bit.
#include "gemm_cases.h"

#include <algorithm>
#include <cstring>
#include <tuple>

namespace fathom::gemm_test {
namespace {

void check(Context& ctx, const Case& x) {
  SCOPED_TRACE(describe(x));
  const Matrix a = operand_a(x.layout, x.a, x.m, x.k, 1), b = operand_b(x.layout, x.b, x.n, x.k, 2);
  Matrix c(x.c, x.m, x.n, 3);
  const Matrix before(x.c, x.m, x.n, 3);
  gemm(ctx, x.layout, a.view, b.view, c.view, x.options);
  expect_product(x.layout, a.view, b.view, c, before, x.options);
  EXPECT_TRUE(padding_untouched(c));
}

std::vector<GemmOptions> all_options(DType c) {
  std::vector<GemmOptions> options;
  for (GemmPrecision p : {GemmPrecision::kF32, GemmPrecision::kBF16})
    for (bool accumulate : {false, true})
      if (!accumulate || c == DType::kF32) options.push_back({p, accumulate});
  return options;
}

TEST(Gemm, EveryDtypeLayoutAndOption) {
  TestContext t;
  for (Layout layout : kLayouts)
    for (DType a : kInputs)
      for (DType b : kInputs)
        for (DType c : kInputs)
          for (GemmOptions options : all_options(c)) {
            check(t.ctx, {layout, 37, 45, 53, a, b, c, options});
            check(t.ctx, {layout, 5, 45, 53, a, b, c, options});
          }
}

TEST(Gemm, OddSizes) {
  TestContext t;
  const int64_t sizes[] = {1, 2, 15, 17, 33, 100, 129};
  for (Layout layout : kLayouts)
    for (GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16}) {
      const GemmOptions options{precision, false};
      for (int64_t m : sizes)
        for (int64_t n : sizes)
          for (int64_t k : {int64_t{1}, int64_t{17}, int64_t{68}})
            check(t.ctx, {layout, m, n, k, DType::kF32, DType::kBF16, DType::kF32, options});
    }
}

TEST(Gemm, LongSumsAndSeveralColumnStrips) {
  TestContext t;
  for (Layout layout : kLayouts)
    for (DType c : kInputs)
      for (GemmOptions options : all_options(c)) {
        check(t.ctx, {layout, 19, 31, 2100, DType::kBF16, DType::kF32, c, options});
        check(t.ctx, {layout, 70, 530, 40, DType::kBF16, DType::kF32, c, options});
      }
}

TEST(Gemm, EmptySum) {
  TestContext t;
  for (Layout layout : kLayouts)
    for (DType c : kInputs)
      for (GemmOptions options : all_options(c))
        check(t.ctx, {layout, 20, 9, 0, DType::kF32, DType::kF32, c, options});
}

TEST(Gemm, NothingToCompute) {
  TestContext t;
  for (Layout layout : kLayouts) {
    check(t.ctx, {layout, 0, 9, 7, DType::kF32, DType::kF32, DType::kF32, {}});
    check(t.ctx, {layout, 9, 0, 7, DType::kF32, DType::kF32, DType::kF32, {}});
  }
}

TEST(Gemm, NanAndInfinityStayInTheirRowAndColumn) {
  TestContext t;
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  for (int64_t m : {3, 40})
    for (GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16}) {
      Matrix a(DType::kF32, m, 50, 1), b(DType::kF32, 47, 50, 2), c(DType::kF32, m, 47, 3);
      a.set(1, 49, nan);
      a.set(2, 0, inf);
      b.set(46, 33, -inf);
      b.set(17, 3, nan);
      kernels::gemm_nt(t.ctx, a.view, b.view, c.view, {precision, false});
      expect_product(Layout::kNT, a.view, b.view, c, c, {precision, false});
      EXPECT_TRUE(std::isfinite(c.get(0, 0)));
    }
}

std::vector<float> values(const Matrix& m) {
  std::vector<float> v;
  for (int64_t r = 0; r < m.view.rows(); ++r)
    for (int64_t c = 0; c < m.view.cols(); ++c) v.push_back(m.get(r, c));
  return v;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Gemm, ResultsDoNotDependOnThreads) {
  for (Layout layout : kLayouts)
    for (GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16})
      for (int64_t m : {7, 150}) {
        const Matrix a = operand_a(layout, DType::kF32, m, 700, 1);
        const Matrix b = operand_b(layout, DType::kBF16, 333, 700, 2);
        std::vector<std::vector<float>> results;
        for (int threads : {1, 2, 3}) {
          TestContext t(threads);
          Matrix c(DType::kF32, m, 333, 3);
          gemm(t.ctx, layout, a.view, b.view, c.view, {precision, true});
          results.push_back(values(c));
        }
        EXPECT_TRUE(same_bits(results[0], results[1]));
        EXPECT_TRUE(same_bits(results[0], results[2]));
      }
}

TEST(Gemm, ARowDoesNotDependOnTheOthersUpToSmallM) {
  TestContext t;
  const int64_t n = 77, k = 650, rows = kernels::kSmallM;
  for (Layout layout : kLayouts)
    for (DType c_dtype : kInputs)
      for (GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16}) {
        const Matrix a = operand_a(layout, DType::kF32, rows, k, 1);
        const Matrix b = operand_b(layout, DType::kBF16, n, k, 2);
        Matrix all(c_dtype, rows, n, 3);
        gemm(t.ctx, layout, a.view, b.view, all.view, {precision, false});
        for (int64_t m = 1; m < rows; ++m) {
          Matrix some(c_dtype, m, n, 3);
          const int outer = layout == Layout::kTN ? 1 : 0;
          gemm(t.ctx, layout, a.view.slice(outer, rows - m, m), b.view, some.view,
               {precision, false});
          for (int64_t i = 0; i < m * n; ++i)
            ASSERT_EQ(some.get(i / n, i % n), all.get(rows - m + i / n, i % n)) << m;
        }
      }
}

// Groups of very different sizes: an empty one, one row, a few, many.
const std::vector<int64_t> kOffsets = {3, 3, 4, 60, 60, 63, 200, 201, 219};
constexpr int64_t kRows = 225, kGroups = 8;

std::vector<kernels::GemmInput> views(const std::vector<Matrix>& m) {
  std::vector<kernels::GemmInput> v;
  for (const Matrix& x : m) v.emplace_back(x.view);
  return v;
}

// Rows [begin, end) of c must be those of `before`.
void expect_unchanged(const Matrix& c, const Matrix& before, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r)
    for (int64_t j = 0; j < c.view.cols(); ++j) ASSERT_EQ(c.get(r, j), before.get(r, j)) << r;
}

void check_grouped_rows(Context& ctx, Layout layout, DType c_dtype, GemmOptions options) {
  const int64_t n = 83, k = 91;
  const Matrix a(DType::kBF16, kRows, k, 1);
  std::vector<Matrix> b;
  for (uint64_t g = 0; g < kGroups; ++g) b.push_back(operand_b(layout, DType::kF32, n, k, 10 + g));
  Matrix c(c_dtype, kRows, n, 2);
  const Matrix before(c_dtype, kRows, n, 2);
  const auto run = layout == Layout::kNT ? kernels::grouped_gemm_nt : kernels::grouped_gemm_nn;
  run(ctx, a.view, views(b), c.view, kOffsets, options);
  for (size_t g = 0; g < kGroups; ++g) {
    const int64_t begin = kOffsets[g], rows = kOffsets[g + 1] - begin;
    Matrix part(c_dtype, rows, n, 0), part_before(c_dtype, rows, n, 0);
    for (int64_t i = 0; i < rows * n; ++i) {
      part.set(i / n, i % n, c.get(begin + i / n, i % n));
      part_before.set(i / n, i % n, before.get(begin + i / n, i % n));
    }
    expect_product(layout, a.view.row_range(begin, rows), b[g].view, part, part_before, options);
  }
  expect_unchanged(c, before, 0, kOffsets.front());
  expect_unchanged(c, before, kOffsets.back(), kRows);
}

TEST(GroupedGemm, ByRows) {
  for (int threads : {1, 3}) {
    TestContext t(threads);
    for (Layout layout : {Layout::kNT, Layout::kNN})
      for (DType c : kInputs)
        for (GemmOptions options : all_options(c)) check_grouped_rows(t.ctx, layout, c, options);
  }
}

TEST(GroupedGemm, ByK) {
  TestContext t;
  const int64_t m = 49, n = 83;
  const Matrix a(DType::kBF16, kRows, m, 1), b(DType::kF32, kRows, n, 2);
  for (GemmOptions options : all_options(DType::kF32)) {
    std::vector<Matrix> c, before;
    std::vector<TensorView> c_views;
    for (uint64_t g = 0; g < kGroups; ++g) {
      c.emplace_back(DType::kF32, m, n, 10 + g);
      before.emplace_back(DType::kF32, m, n, 10 + g);
    }
    for (const Matrix& x : c) c_views.push_back(x.view);
    kernels::grouped_gemm_tn(t.ctx, a.view, b.view, c_views, kOffsets, options);
    for (size_t g = 0; g < kGroups; ++g) {
      const int64_t begin = kOffsets[g], rows = kOffsets[g + 1] - begin;
      expect_product(Layout::kTN, a.view.row_range(begin, rows), b.view.row_range(begin, rows),
                     c[g], before[g], options);
    }
  }
}

TEST(GroupedGemm, AGroupOfAFewRowsEqualsTheProductAlone) {
  TestContext t;
  const Matrix a(DType::kF32, kRows, 91, 1);
  std::vector<Matrix> b;
  for (uint64_t g = 0; g < kGroups; ++g) b.emplace_back(DType::kBF16, 83, 91, 10 + g);
  Matrix c(DType::kF32, kRows, 83, 2), alone(DType::kF32, 1, 83, 3);
  kernels::grouped_gemm_nt(t.ctx, a.view, views(b), c.view, kOffsets);
  for (int64_t r : {60, 61, 62}) {  // group 4, three rows
    kernels::gemm_nt(t.ctx, a.view.row_range(r, 1), b[4].view, alone.view);
    for (int64_t j = 0; j < 83; ++j) ASSERT_EQ(alone.get(0, j), c.get(r, j));
  }
}

}  // namespace
}  // namespace fathom::gemm_test
