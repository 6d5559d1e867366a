#include "kernels/cpu/gemm_driver.h"

#include <cstring>

#include "numerics/bf16.h"

namespace fathom::kernels::cpu {
namespace {

float load(const GemmOperand& x, int64_t outer, int64_t k, GemmPrecision precision) {
  const int64_t i = x.k_contiguous ? outer * x.stride + k : k * x.stride + outer;
  if (x.dtype == DType::kBF16) return to_float(static_cast<const BF16*>(x.data)[i]);
  const float v = static_cast<const float*>(x.data)[i];
  return precision == GemmPrecision::kBF16 ? to_float(to_bf16(v)) : v;
}

// One row of C, columns vectorised over B widened to F32 rows of K.
void multiply_row(const GemmProblem& p, int64_t m, const float* b_KN, GemmOptions options,
                  float* sum_N) {
  float* out = static_cast<float*>(p.c) + m * p.c_stride;
  if (options.accumulate)
    std::memcpy(sum_N, out, static_cast<size_t>(p.n) * sizeof(float));
  else
    std::memset(sum_N, 0, static_cast<size_t>(p.n) * sizeof(float));
  for (int64_t k = 0; k < p.k; ++k) {
    const float a = load(p.a, m, k, options.precision);
    const float* b_N = b_KN + k * p.n;
    for (int64_t n = 0; n < p.n; ++n) sum_N[n] += a * b_N[n];
  }
  if (p.c_dtype == DType::kF32)
    std::memcpy(out, sum_N, static_cast<size_t>(p.n) * sizeof(float));
  else
    for (int64_t n = 0; n < p.n; ++n)
      static_cast<BF16*>(p.c)[m * p.c_stride + n] = to_bf16(sum_N[n]);
}

void run_gemm(Context& ctx, const GemmProblem& p, GemmOptions options) {
  ArenaScope scope(ctx.arena);
  float* b_KN = ctx.arena.alloc_array<float>(p.k * p.n);
  float* sums = ctx.arena.alloc_array<float>(ctx.pool.size() * p.n);
  ctx.pool.for_range(p.k, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t k = begin; k < end; ++k)
      for (int64_t n = 0; n < p.n; ++n) b_KN[k * p.n + n] = load(p.b, n, k, options.precision);
  });
  ctx.pool.for_range(p.m, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t m = begin; m < end; ++m) multiply_row(p, m, b_KN, options, sums + thread * p.n);
  });
}

}  // namespace

void run_gemms(Context& ctx, std::span<const GemmProblem> problems, GemmOptions options) {
  for (const GemmProblem& p : problems) run_gemm(ctx, p, options);
}

}  // namespace fathom::kernels::cpu
