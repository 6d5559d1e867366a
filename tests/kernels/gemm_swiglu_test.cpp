// The SwiGLU pair against its definition in double precision, and against the operations it joins.
#include <algorithm>

#include "gemm_cases.h"

namespace fathom::gemm_test {
namespace {

using kernels::SwigluOutput;

struct PairCase {
  int64_t rows, n, k;
  DType input, output;
  GemmPrecision precision = GemmPrecision::kBF16;
  bool keeps = true, weighted = false;
};

/// Experts of random weights and groups of very different sizes.
struct Experts {
  Experts(const PairCase& x, std::vector<int64_t> offsets_in)
      : offsets(std::move(offsets_in)),
        a(x.input, x.rows, x.k, 1),
        gate_up(x.output, x.rows, 2 * x.n, 2),
        act(x.output, x.rows, x.n, 3),
        weight(random_tensor(DType::kF32, {x.rows}, 4)) {
    for (uint64_t g = 0; g + 1 < offsets.size(); ++g) {
      gate.emplace_back(x.input, x.n, x.k, 10 + g);
      up.emplace_back(x.input, x.n, x.k, 30 + g);
    }
    for (const Matrix& m : gate) gate_views.emplace_back(m.view);
    for (const Matrix& m : up) up_views.emplace_back(m.view);
    out.act_MN = act.view;
    if (x.keeps) out.gate_up_MN2 = gate_up.view;
    if (x.weighted) out.weight_M = weight;
  }
  int64_t group_of(int64_t row) const {
    return std::upper_bound(offsets.begin(), offsets.end(), row) - offsets.begin() - 1;
  }

  std::vector<int64_t> offsets;
  Matrix a, gate_up, act;
  Tensor weight;
  std::vector<Matrix> gate, up;
  std::vector<GemmInput> gate_views, up_views;
  SwigluOutput out;
};

void run(Context& ctx, const Experts& e, GemmPrecision precision) {
  kernels::grouped_gemm_nt_swiglu(ctx, e.a.view, e.gate_views, e.up_views, e.out, e.offsets,
                                  precision);
}

/// A row's exact product with row j of w, and its error in FP32: see expect_product.
struct Sum {
  double value = 0, error = 0;
};
Sum dot(const Matrix& a, int64_t row, const Matrix& w, int64_t j, GemmPrecision precision) {
  const auto rounded = [&](float v) {
    return precision == GemmPrecision::kBF16 ? to_float(to_bf16(v)) : v;
  };
  Sum s;
  for (int64_t k = 0; k < a.view.cols(); ++k) {
    const double term = static_cast<double>(rounded(a.get(row, k))) * rounded(w.get(j, k));
    s.value += term;
    s.error += std::abs(term);
  }
  s.error *= static_cast<double>(a.view.cols() + 2) * 0x1p-24;
  return s;
}

/// silu(g)·u·w with its error: |silu'| <= 1.1, silu itself within 4 units in the last place
/// (vec_exp.h), two products rounded, and the output's rounding.
void expect_act(float actual, const Sum& g, const Sum& u, double w, DType dtype) {
  const double silu = g.value / (1 + std::exp(-g.value));
  const double expected = silu * u.value * w;
  const double sums = 1.1 * g.error * (std::abs(u.value) + u.error) + std::abs(silu) * u.error;
  const double rounding = (dtype == DType::kBF16 ? 0x1p-8 : 0) + 6 * 0x1p-23;
  const double bound = sums * std::abs(w) * 1.01 + rounding * std::abs(expected) + 1e-30;
  EXPECT_LE(std::abs(actual - expected), bound) << expected;
}

void check(const PairCase& x, std::vector<int64_t> offsets, int threads = 2) {
  TestContext t(threads);
  const Experts e(x, std::move(offsets));
  const Matrix before(x.output, x.rows, x.n, 3);
  run(t.ctx, e, x.precision);
  for (int64_t r = 0; r < x.rows; ++r) {
    const auto g = static_cast<size_t>(e.group_of(r));
    const bool owned = r >= e.offsets.front() && r < e.offsets.back();
    for (int64_t j = 0; j < x.n; ++j) {
      if (!owned) {
        ASSERT_EQ(e.act.get(r, j), before.get(r, j));
        continue;
      }
      const Sum gate = dot(e.a, r, e.gate[g], j, x.precision);
      const Sum up = dot(e.a, r, e.up[g], j, x.precision);
      const double w = x.weighted ? element(e.weight, r) : 1;
      expect_act(e.act.get(r, j), gate, up, w, x.output);
      if (!x.keeps) continue;
      const double u = x.output == DType::kBF16 ? 0x1p-8 : 0x1p-24;
      ASSERT_LE(std::abs(e.gate_up.get(r, j) - gate.value), gate.error + u * std::abs(gate.value));
      ASSERT_LE(std::abs(e.gate_up.get(r, x.n + j) - up.value), up.error + u * std::abs(up.value));
    }
  }
  EXPECT_TRUE(padding_untouched(e.act));
  EXPECT_TRUE(padding_untouched(e.gate_up));
}

TEST(GemmSwiglu, GroupsOfVeryDifferentSizes) {
  const std::vector<int64_t> offsets = {3, 3, 4, 60, 60, 63, 120};
  for (DType dtype : kInputs)
    for (GemmPrecision precision : {GemmPrecision::kF32, GemmPrecision::kBF16})
      for (bool keeps : {false, true})
        check({125, 83, 91, dtype, dtype, precision, keeps, keeps}, offsets, keeps ? 3 : 1);
}

TEST(GemmSwiglu, SeveralStripsAndBlocksOfK) {
  check({24, 300, 700, DType::kBF16, DType::kBF16}, {0, 7, 24});
  check({24, 150, 300, DType::kF32, DType::kF32}, {0, 7, 24});
}

TEST(GemmSwiglu, NoRows) {
  check({0, 20, 30, DType::kBF16, DType::kBF16}, {0, 0});
  check({5, 20, 30, DType::kBF16, DType::kBF16}, {2, 2, 2});
}

TEST(GemmSwiglu, OneMatrixIsAGroupOfItsOwn) {
  TestContext t;
  const PairCase x{50, 40, 60, DType::kBF16, DType::kF32};
  const Experts one(x, {0, 50}), grouped(x, {0, 50});
  kernels::gemm_nt_swiglu(t.ctx, one.a.view, one.gate[0].view, one.up[0].view, one.out);
  run(t.ctx, grouped, GemmPrecision::kBF16);
  for (int64_t i = 0; i < 50 * 40; ++i)
    ASSERT_EQ(one.act.get(i / 40, i % 40), grouped.act.get(i / 40, i % 40));
}

// Few rows and many, a width that ends within a tile: the codes and scales are those that
// quantizing the F32 activations gives.
TEST(GemmSwiglu, QuantizedOutputIsThatOfTheActivations) {
  TestContext t;
  const int64_t rows = 90, n = 300, k = 64;
  const Experts e({rows, n, k, DType::kBF16, DType::kF32}, {0, 5, 90});
  for (const auto format : {kernels::ScaleFormat::kF32, kernels::ScaleFormat::kPowerOfTwo}) {
    Tensor codes(DType::kE4M3, {rows, n}), expected(DType::kE4M3, {rows, n});
    Tensor scales(DType::kF32, {rows, 3}), expected_scales(DType::kF32, {rows, 3});
    SwigluOutput out = e.out;
    out.act_quantized = {{codes, scales, kernels::kTile1x128}, format};
    kernels::grouped_gemm_nt_swiglu(t.ctx, e.a.view, e.gate_views, e.up_views, out, e.offsets);
    kernels::quantize(t.ctx, e.act.view, {expected, expected_scales, kernels::kTile1x128}, format);
    EXPECT_EQ(std::memcmp(codes.view().data, expected.view().data, codes.view().bytes()), 0);
    EXPECT_EQ(std::memcmp(scales.as<float>(), expected_scales.as<float>(), scales.view().bytes()),
              0);
  }
}

TEST(GemmSwiglu, ResultsDoNotDependOnThreads) {
  const PairCase x{150, 333, 200, DType::kBF16, DType::kF32};
  std::vector<Experts> runs;
  for (int threads : {1, 2, 3}) {
    TestContext t(threads);
    runs.emplace_back(x, std::vector<int64_t>{0, 9, 150});
    run(t.ctx, runs.back(), GemmPrecision::kBF16);
  }
  for (int64_t i = 0; i < x.rows * x.n; ++i)
    for (size_t r : {1, 2})
      ASSERT_EQ(runs[0].act.get(i / x.n, i % x.n), runs[r].act.get(i / x.n, i % x.n));
}

}  // namespace
}  // namespace fathom::gemm_test
