#include "kernels/emulated_gemm.h"

#include "numerics/e4m3.h"
#include "quantized_test.h"

namespace fathom {
namespace {

using namespace kernels;

/// x towards zero to a multiple of 2^(e − bits + 1), e the exponent of max.
double cut(double x, double max, int bits) {
  if (max == 0) return 0;
  const double grid = std::ldexp(1.0, std::ilogb(max) - bits + 1);
  return std::trunc(x / grid) * grid;
}

/// The header's text in double precision, for one output; values are exact.
double emulated(const Values& a, const Values& b, const Values& scale_K, int group, int bits,
                int64_t promotion) {
  const auto depth = static_cast<int64_t>(a.size());
  const bool scale_products = promotion > 128;
  float total = 0;
  double acc = 0;
  for (int64_t k = 0; k < depth; k += group) {
    const int64_t end = std::min(depth, k + group);
    const auto product = [&](int64_t i) { return a[i] * b[i] * (scale_products ? scale_K[i] : 1); };
    double max = std::abs(acc);
    for (int64_t i = k; i < end; ++i) max = std::max(max, std::abs(product(i)));
    acc = cut(acc, max, bits);
    for (int64_t i = k; i < end; ++i) acc += cut(product(i), max, bits);
    acc = cut(acc, std::abs(acc), bits);
    if (end % promotion == 0 || end == depth) {
      total += static_cast<float>(acc) * (scale_products ? 1 : static_cast<float>(scale_K[k]));
      acc = 0;
    }
  }
  return total;
}

Values row_of(const Values& x, int64_t row, int64_t cols) {
  return Values(x.begin() + row * cols, x.begin() + (row + 1) * cols);
}

/// Values of the codes alone, row-major.
Values codes_of(const ConstQuantizedView& q) {
  Values out;
  for (const uint8_t code : contents(q).codes) out.push_back(to_float(E4M3{code}));
  return out;
}

struct Operands {
  Operands(int64_t m, int64_t n, int64_t k) : a(m, k, kTile1x128), b(n, k, kBlock128x128) {
    TestContext tc;
    for (const auto& [q, rows, seed] : {std::tuple{&a, m, 1}, std::tuple{&b, n, 2}}) {
      const Tensor x = random_tensor(DType::kF32, {rows, k}, seed);
      quantize(tc.ctx, x, q->view, ScaleFormat::kPowerOfTwo);
    }
  }
  QuantizedStorage a, b;
};

// With powers of two for scales everything but the FP32 promotion is exact in double precision, and
// that is one rounding more only where a product of scale and accumulator is contracted into a sum.
TEST(EmulatedGemm, MatchesItsDefinition) {
  TestContext tc;
  for (const int64_t depth : {1, 31, 128, 300, 1024})
    for (const int64_t promotion : {32, 64, 128, 256, 0}) {
      const int64_t m = 3, n = 19;
      const Operands x(m, n, depth);
      const Tensor c(DType::kF32, {m, n});
      emulated_gemm(tc.ctx, x.a.view, x.b.view, c, {32, 14, promotion});
      const Values a = codes_of(x.a.view), b = codes_of(x.b.view);
      const std::vector<float> a_scale = contents(x.a.view).scale;
      const std::vector<float> b_scale = contents(x.b.view).scale;
      const int64_t blocks = (depth + 127) / 128;
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          Values scale;
          for (int64_t k = 0; k < depth; ++k)
            scale.push_back(a_scale[i * blocks + k / 128] * b_scale[k / 128]);
          const double expected = emulated(row_of(a, i, depth), row_of(b, j, depth), scale, 32, 14,
                                           promotion ? promotion : depth);
          EXPECT_EQ(c.as<float>()[i * n + j], static_cast<float>(expected))
              << depth << ", N_C " << promotion;
        }
    }
}

/// The greatest error over the root mean square of the exact results.
double error_of(const Operands& x, int64_t depth, int64_t promotion) {
  TestContext tc;
  const int64_t m = x.a.view.rows(), n = x.b.view.rows();
  const Tensor c(DType::kF32, {m, n}), a(DType::kF32, {m, depth}), b(DType::kF32, {n, depth});
  emulated_gemm(tc.ctx, x.a.view, x.b.view, c, {32, 14, promotion});
  dequantize(tc.ctx, x.a.view, a);
  dequantize(tc.ctx, x.b.view, b);
  const Values va = values(a), vb = values(b);
  double error = 0, squares = 0;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const double exact = dot(row_of(va, i, depth), row_of(vb, j, depth));
      error = std::max(error, std::abs(c.as<float>()[i * n + j] - exact));
      squares += exact * exact / static_cast<double>(m * n);
    }
  return error / std::sqrt(squares);
}

// Report section 3.3.2: with K = 4096 random inputs the greatest error of the unit's accumulation
// is nearly 2%; promotion every 128 products all but removes it.
TEST(EmulatedGemm, PromotionRecoversWhatTheAccumulatorLoses) {
  const Operands x(64, 64, 4096);
  const double never = error_of(x, 4096, 0), at_512 = error_of(x, 4096, 512);
  const double at_128 = error_of(x, 4096, 128), at_32 = error_of(x, 4096, 32);
  RecordProperty("never", std::to_string(never));
  RecordProperty("at_512", std::to_string(at_512));
  RecordProperty("at_128", std::to_string(at_128));
  RecordProperty("at_32", std::to_string(at_32));
  EXPECT_GT(never, 0.008);
  EXPECT_LT(never, 0.03);
  EXPECT_GT(never, 4 * at_512);
  EXPECT_GT(at_512, at_128);
  EXPECT_GT(at_128, at_32);
  EXPECT_LT(at_128, 1e-3);
}

TEST(EmulatedGemm, SameBitsForAnyTeam) {
  const Operands x(5, 70, 512);
  expect_same_for_threads([&](Context& ctx) {
    const Tensor c(DType::kF32, {5, 70});
    emulated_gemm(ctx, x.a.view, x.b.view, c, {});
    return bits(c);
  });
}

}  // namespace
}  // namespace fathom
