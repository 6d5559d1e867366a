// Weights in every storage format: decoded bit for bit, and multiplied in every product, many rows
// and few.
#include "kernels/stored_weights.h"
#include "stored_matrix.h"

namespace fathom::gemm_test {
namespace {

constexpr GemmPrecision kPrecisions[] = {GemmPrecision::kBF16, GemmPrecision::kF32};

/// Of c from the product of weights that are not rounded to BF16, as where a few rows meet codes:
/// those are exact, and scales are applied to their sums. Scales and what codes are relative to add
/// four roundings.
Deviation deviation_of_codes(Layout layout, const Matrix& a, const StoredMatrix& b, const Matrix& c,
                             const Matrix& before, bool accumulate) {
  const int64_t k = a.view.cols();
  Tensor rounded(DType::kF32, {a.view.rows(), k}),
      weights(DType::kF32, {b.input.rows(), b.input.cols()});
  for (int64_t i = 0; i < rounded.view().elements(); ++i)
    rounded.as<float>()[i] = to_float(to_bf16(a.get(i / k, i % k)));
  for (int64_t i = 0; i < weights.view().elements(); ++i)
    weights.as<float>()[i] = b.magnitude(i / b.input.cols(), i % b.input.cols());
  Tensor exact(DType::kF64, {c.view.rows(), c.view.cols()});
  Tensor magnitude(DType::kF64, {c.view.rows(), c.view.cols()});
  ref_gemm(layout, rounded, b.values, exact, {GemmPrecision::kF32, false});
  ref_gemm(layout, absolute(rounded), weights, magnitude, {GemmPrecision::kF32, false});
  return deviation(c, before, accumulate, exact, magnitude, k + 6);
}

/// Weights are rounded to BF16 as asked for, or not at all.
void check(Context& ctx, Layout layout, const Storage& s, int64_t m, int64_t n, int64_t k,
           int64_t first_row, GemmOptions options, DType c_dtype = DType::kF32) {
  SCOPED_TRACE(describe(s) + ": " +
               describe(Case{layout, m, n, k, DType::kF32, DType::kU8, c_dtype, options}) +
               " from row " + std::to_string(first_row));
  const bool nt = layout == Layout::kNT;
  const StoredMatrix b(s, nt ? n : k, nt ? k : n, first_row, 2);
  const Matrix a(DType::kF32, m, k, 1);
  Matrix c(c_dtype, m, n, 3);
  const Matrix before(c_dtype, m, n, 3);
  gemm(ctx, layout, a.view, b.input, c.view, options);
  const Deviation rounded = product_deviation(layout, a.view, b.values, c, before, options);
  if (rounded.ratio > 1) {
    const Deviation exact = deviation_of_codes(layout, a, b, c, before, options.accumulate);
    EXPECT_LE(exact.ratio, 1) << exact.where << "; with rounded weights " << rounded.where;
  }
  EXPECT_TRUE(padding_untouched(c));
}

/// The same with rows of B of about `cols`, as its format has them.
void check_near(Context& ctx, Layout layout, const Storage& s, int64_t m, int64_t other,
                int64_t cols, int64_t first_row, GemmOptions options) {
  const int64_t c = columns_of(s, cols);
  if (layout == Layout::kNT)
    check(ctx, layout, s, m, other, c, first_row, options);
  else
    check(ctx, layout, s, m, c, other, first_row, options);
}

TEST(StoredGemm, DecodesBitForBit) {
  TestContext t;
  for (const Storage& s : kStorages)
    for (int64_t cols : {1, 31, 64, 515}) {
      SCOPED_TRACE(describe(s) + " " + std::to_string(cols));
      const StoredMatrix w(s, 9, columns_of(s, cols), 5, 1);
      const int64_t count = w.values.view().elements();
      const Tensor f32(DType::kF32, {9, w.input.cols()}), bf16(DType::kBF16, {9, w.input.cols()});
      kernels::decode_weights(t.ctx, w.input, f32);
      kernels::decode_weights(t.ctx, w.input, bf16);
      for (int64_t i = 0; i < count; ++i) {
        const float expected = w.values.as<float>()[i];
        ASSERT_EQ(f32.as<float>()[i], expected) << i;
        ASSERT_EQ(bf16.as<BF16>()[i].bits, to_bf16(expected).bits) << i << " " << expected;
      }
    }
}

TEST(StoredGemm, FewRowsInBothPrecisions) {
  TestContext t;
  for (Layout layout : {Layout::kNT, Layout::kNN})
    for (const Storage& s : kStorages)
      for (GemmPrecision precision : kPrecisions)
        for (int64_t m : {1, 2, 4, 5, 9, 16})
          check_near(t.ctx, layout, s, m, 70, 200, 3, {precision, m == 2});
}

TEST(StoredGemm, ManyRowsInBothPrecisions) {
  TestContext t;
  for (Layout layout : {Layout::kNT, Layout::kNN})
    for (const Storage& s : kStorages)
      for (GemmPrecision precision : kPrecisions)
        check_near(t.ctx, layout, s, 33, 45, 150, 1, {precision, false});
}

// Sizes around vectors, pieces and blocks of K.
TEST(StoredGemm, OddSizes) {
  TestContext t;
  for (const Storage& s : kStorages)
    for (int64_t m : {3, 20})
      for (int64_t n : {1, 3, 130})
        for (int64_t k : {1, 33, 600}) check_near(t.ctx, Layout::kNT, s, m, n, k, 0, {});
}

TEST(StoredGemm, RowsLongerThanAPiece) {
  TestContext t;
  for (const Storage& s : kStorages) {
    for (int64_t m : {2, 7}) check_near(t.ctx, Layout::kNT, s, m, 6, 4400, 0, {});
    check_near(t.ctx, Layout::kNN, s, 2, 3, 1300, 0, {});
  }
}

Matrix product(Context& ctx, Layout layout, const GemmInput& a, const GemmInput& b,
               GemmPrecision precision) {
  Matrix c(DType::kF32, a.rows(), layout == Layout::kNT ? b.rows() : b.cols(), 3);
  gemm(ctx, layout, a, b, c.view, {precision, false});
  return c;
}

/// Some rows of a product, on other threads, have the bits that they have among all sixteen.
void check_rows_alone(Layout layout, const Storage& s, int64_t rows, int64_t cols) {
  TestContext one(1), three(3);
  const StoredMatrix b(s, rows, cols, 0, 2);
  const Matrix a(DType::kF32, kernels::kSmallM, layout == Layout::kNT ? cols : rows, 1);
  const Matrix all = product(one.ctx, layout, a.view, b.input, GemmPrecision::kBF16);
  for (int64_t m : {1, 3, 8, 13}) {
    const Matrix some = product(three.ctx, layout, GemmInput(a.view).row_range(16 - m, m), b.input,
                                GemmPrecision::kBF16);
    for (int64_t i = 0; i < m * all.view.cols(); ++i) {
      const int64_t r = i / all.view.cols(), c = i % all.view.cols();
      ASSERT_EQ(some.get(r, c), all.get(16 - m + r, c)) << describe(s) << " " << r << ", " << c;
    }
  }
}

TEST(StoredGemm, ARowDependsNeitherOnTheOthersNorOnThreads) {
  for (Layout layout : {Layout::kNT, Layout::kNN})
    for (const Storage& s : kStorages) check_rows_alone(layout, s, 300, columns_of(s, 386));
}

// The more rows, the more parts K is multiplied in.
TEST(StoredGemm, ALongRowDependsNotOnTheOthers) {
  for (const Storage& s : kStorages) check_rows_alone(Layout::kNT, s, 70, columns_of(s, 5200));
}

// Slices of heads: any row may be the first.
TEST(StoredGemm, RangesOfRows) {
  TestContext t;
  for (const Storage& s : kStorages)
    for (int64_t m : {2, 30}) {
      const StoredMatrix b(s, 60, columns_of(s, 128), 0, 2);
      const Matrix a(DType::kBF16, m, b.input.cols(), 1), whole(DType::kF32, m, 60, 0);
      kernels::gemm_nt(t.ctx, a.view, b.input, whole.view);
      for (int64_t first : {1, 13, 24}) {
        const Matrix part =
            product(t.ctx, Layout::kNT, a.view, b.input.row_range(first, 20), GemmPrecision::kBF16);
        for (int64_t i = 0; i < m * 20; ++i)
          ASSERT_EQ(part.get(i / 20, i % 20), whole.get(i / 20, first + i % 20))
              << describe(s) << " " << first;
      }
    }
}

// Products of several weights in one call have the bits of each alone, whatever their formats.
TEST(StoredGemm, BatchesGroupsAndMasks) {
  TestContext t(3);
  const int64_t k = 512, n = 70;
  std::vector<StoredMatrix> w;
  std::vector<GemmInput> b;
  for (const Storage& s : kStorages) w.emplace_back(s, n, k, 0, w.size());
  for (const StoredMatrix& x : w) b.push_back(x.input);
  const auto groups = std::ssize(b);
  const int64_t room = 20;
  std::vector<int64_t> offsets = {0}, counts;
  for (int64_t g = 0; g < groups; ++g) counts.push_back(g % 4 == 3 ? room : g % 4);
  for (int64_t g = 0; g < groups; ++g) offsets.push_back(offsets.back() + counts[g]);
  const Matrix a(DType::kBF16, groups * room, k, 1);
  const Matrix grouped(DType::kF32, groups * room, n, 2), masked(DType::kF32, groups * room, n, 2);
  kernels::grouped_gemm_nt(t.ctx, a.view, b, grouped.view, offsets);
  kernels::masked_gemm_nt(t.ctx, a.view, b, masked.view, counts);
  for (int64_t g = 0; g < groups; ++g)
    for (const Matrix* c : {&grouped, &masked}) {
      if (counts[g] == 0) continue;
      const int64_t first = c == &grouped ? offsets[g] : g * room;
      const Matrix alone =
          product(t.ctx, Layout::kNT, GemmInput(a.view).row_range(first, counts[g]), b[g],
                  GemmPrecision::kBF16);
      for (int64_t i = 0; i < counts[g] * n; ++i)
        ASSERT_EQ(c->get(first + i / n, i % n), alone.get(i / n, i % n))
            << describe(w[g].storage) << " " << i;
    }
}

// The pair has the bits of its two products; many rows those of the same numbers in F32.
TEST(StoredGemm, SwigluHasTheBitsOfItsProducts) {
  TestContext t;
  for (const Storage& s : kStorages) {
    const int64_t m = 3, k = 256, n = 130;
    const StoredMatrix gate(s, n, k, 0, 1), up(s, n, k, 0, 2);
    const Matrix a(DType::kBF16, m, k, 3);
    const Tensor act(DType::kF32, {m, n}), pair(DType::kF32, {m, 2 * n});
    kernels::gemm_nt_swiglu(t.ctx, a.view, gate.input, up.input, {act, {}, pair, {}});
    const Tensor alone(DType::kF32, {m, 2 * n});
    kernels::gemm_nt(t.ctx, a.view, gate.input, alone.view().col_range(0, n));
    kernels::gemm_nt(t.ctx, a.view, up.input, alone.view().col_range(n, n));
    for (int64_t i = 0; i < m * 2 * n; ++i)
      ASSERT_EQ(pair.as<float>()[i], alone.as<float>()[i]) << describe(s) << " " << i;
  }
}

TEST(StoredGemm, SwigluOfManyRowsHasTheBitsOfPlainWeights) {
  TestContext t;
  for (const Storage& s : kStorages) {
    const int64_t m = 40, k = 256, n = 130;
    const StoredMatrix gate(s, n, k, 0, 1), up(s, n, k, 0, 2);
    const Matrix a(DType::kBF16, m, k, 3);
    const Tensor stored(DType::kF32, {m, n}), plain(DType::kF32, {m, n});
    kernels::gemm_nt_swiglu(t.ctx, a.view, gate.input, up.input, {stored, {}, {}, {}});
    kernels::gemm_nt_swiglu(t.ctx, a.view, gate.values, up.values, {plain, {}, {}, {}});
    for (int64_t i = 0; i < m * n; ++i)
      ASSERT_EQ(stored.as<float>()[i], plain.as<float>()[i]) << describe(s) << " " << i;
  }
}

}  // namespace
}  // namespace fathom::gemm_test
