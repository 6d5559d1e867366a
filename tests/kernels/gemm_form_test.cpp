// Within one form of product a row has the same bits whatever the number of rows.
#include <vector>

#include "gemm_cases.h"

namespace fathom::gemm_test {
namespace {

constexpr int64_t kRows = 70, kCols = 150, kDepth = 515;

struct FormCase {
  ProductForm form;
  DType weights, output;
  GemmPrecision precision;
};

std::vector<FormCase> cases() {
  std::vector<FormCase> list;
  for (const ProductForm form : {ProductForm::kStreamed, ProductForm::kPacked})
    for (const DType weights : {DType::kF32, DType::kBF16, DType::kE4M3})
      for (const GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16})
        list.push_back(
            {form, weights, weights == DType::kBF16 ? DType::kBF16 : DType::kF32, precision});
  return list;
}

class Forms : public testing::TestWithParam<FormCase> {
 protected:
  Forms() { t_.ctx.product_form = GetParam().form; }
  GemmInput weights(const Matrix& plain, const ScaledMatrix& scaled) const {
    return GetParam().weights == DType::kE4M3 ? scaled.input : GemmInput(plain.view);
  }
  DType plain_dtype() const {
    return GetParam().weights == DType::kE4M3 ? DType::kF32 : GetParam().weights;
  }

  TestContext t_;
};

/// Rows of c compared with those of the whole product.
void expect_rows(const Matrix& c, const Matrix& whole, int64_t first) {
  for (int64_t r = 0; r < c.view.rows(); ++r)
    for (int64_t n = 0; n < c.view.cols(); ++n)
      ASSERT_EQ(c.get(r, n), whole.get(first + r, n)) << c.view.rows() << " rows: " << r;
}

TEST_P(Forms, RowsOfAProductDoNotDependOnTheirNumber) {
  const FormCase& x = GetParam();
  const Matrix a(DType::kBF16, kRows, kDepth, 1), plain(plain_dtype(), kCols, kDepth, 2);
  const ScaledMatrix scaled(kCols, kDepth, kernels::kBlock128x128, 0, 2);
  const GemmInput b = weights(plain, scaled);
  const GemmOptions options{x.precision, false};
  const Matrix whole(x.output, kRows, kCols, 3);
  kernels::gemm_nt(t_.ctx, a.view, b, whole.view, options);
  expect_product(Layout::kNT, a.view, b, whole, whole, options);
  for (const int64_t rows : {1, 2, 7, 16, 17, 33, 64})
    for (const int64_t first : {int64_t{0}, int64_t{5}, kRows - rows}) {
      const Matrix c(x.output, rows, kCols, 4);
      kernels::gemm_nt(t_.ctx, a.view.row_range(first, rows), b, c.view, options);
      expect_rows(c, whole, first);
    }
}

TEST_P(Forms, RowsOfTheSwigluPairDoNotDependOnTheirNumber) {
  const FormCase& x = GetParam();
  const Matrix a(DType::kBF16, kRows, kDepth, 1);
  const Matrix gate(plain_dtype(), kCols, kDepth, 2), up(plain_dtype(), kCols, kDepth, 3);
  const ScaledMatrix gate_scaled(kCols, kDepth, kernels::kBlock128x128, 0, 2);
  const ScaledMatrix up_scaled(kCols, kDepth, kernels::kBlock128x128, 0, 3);
  const auto run = [&](int64_t first, int64_t rows, const Matrix& act) {
    kernels::SwigluOutput out;
    out.act_MN = act.view;
    kernels::gemm_nt_swiglu(t_.ctx, a.view.row_range(first, rows), weights(gate, gate_scaled),
                            weights(up, up_scaled), out, x.precision);
  };
  const Matrix whole(x.output, kRows, kCols, 3);
  run(0, kRows, whole);
  for (const int64_t rows : {1, 5, 16, 17, 48}) {
    const Matrix act(x.output, rows, kCols, 4);
    run(kRows - rows, rows, act);
    expect_rows(act, whole, kRows - rows);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Forms, testing::ValuesIn(cases()));

}  // namespace
}  // namespace fathom::gemm_test
