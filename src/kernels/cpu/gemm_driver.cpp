#include "kernels/cpu/gemm_driver.h"

#include <cstring>

#include "kernels/cpu/gemm_stream.h"
#include "kernels/cpu/gemm_swiglu.h"
#include "numerics/bf16.h"

namespace fathom::kernels::cpu {
namespace {

/// Whether the weights are streamed. Formats that cannot be are packed in every form, so that a
/// form stands for one order of additions whatever the rows.
bool streams(const GemmProblem& p, ProductForm form) {
  const bool wanted =
      form == ProductForm::kBySize ? p.m <= kSmallM : form == ProductForm::kStreamed;
  return wanted && p.a.k_contiguous && can_stream(p.b, p.k) &&
         (!p.swiglu || can_stream(p.swiglu->up, p.k));
}

void clear(const GemmProblem& p) {
  for (int64_t r = 0; r < p.m; ++r)
    std::memset(
        static_cast<std::byte*>(p.c) + r * p.c_stride * static_cast<int64_t>(size_of(p.c_dtype)), 0,
        static_cast<size_t>(p.n) * size_of(p.c_dtype));
}

}  // namespace

void round_rows(const GemmKernels& kernels, const float* from, int64_t from_stride,
                const GemmProblem& p, int64_t row, int64_t col, int64_t rows, int64_t cols) {
  BF16* to = static_cast<BF16*>(p.c) + row * p.c_stride + col;
  for (int64_t r = 0; r < rows; ++r)
    kernels.to_bf16(from + r * from_stride, to + r * p.c_stride, cols);
}

void run_gemms(Context& ctx, const GemmKernels& kernels, std::span<const GemmProblem> problems,
               bool accumulate) {
  ArenaScope scope(ctx.arena);
  const auto count = static_cast<int64_t>(problems.size());
  ArenaList<const GemmProblem*> few(ctx.arena, count), few_pairs(ctx.arena, count);
  ArenaList<const GemmProblem*> many(ctx.arena, count);
  for (const GemmProblem& p : problems) {
    if (p.m == 0 || p.n == 0) continue;
    if (p.k > 0)
      (!streams(p, ctx.product_form) ? many : p.swiglu ? few_pairs : few).push(&p);
    else if (!accumulate)
      clear(p);
  }
  run_few_rows(ctx, kernels, few.span(), accumulate);
  run_few_rows_swiglu(ctx, kernels, few_pairs.span());
  run_blocked(ctx, kernels, many.span(), accumulate);
}

}  // namespace fathom::kernels::cpu
