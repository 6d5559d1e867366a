#include "kernels/cpu/gemm_swiglu.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/ops_scaled.h"

namespace fathom::kernels::cpu {
namespace {

/// One of the two products of a block to its columns of C.
void keep(const GemmKernels& kernels, const GemmProblem& p, const SwigluBlock& b, bool up) {
  const float* from = b.sums + (up ? b.cols : 0);
  const int64_t col = b.col + (up ? p.n : 0);
  if (p.c_dtype == DType::kBF16)
    return round_rows(kernels, from, b.stride, p, b.row, col, b.rows, b.cols);
  for (int64_t r = 0; r < b.rows; ++r)
    std::memcpy(static_cast<float*>(p.c) + (b.row + r) * p.c_stride + col, from + r * b.stride,
                static_cast<size_t>(b.cols) * sizeof(float));
}

QuantizedRows at(const QuantizedRows& q, int64_t row, int64_t col) {
  return {at(q.codes, row, col), q.power_of_two};
}

}  // namespace

void finish_swiglu(Context& ctx, const GemmKernels& kernels, const GemmProblem& p,
                   const SwigluBlock& b) {
  const SwigluPair& pair = *p.swiglu;
  if (p.c) {
    keep(kernels, p, b, false);
    keep(kernels, p, b, true);
  }
  const Source sums{{b.sums, b.stride, false}, {}};
  const MutableRows act = pair.act.data ? at(pair.act, b.row, b.col) : MutableRows{};
  ops_table(ctx.isa).activation.swiglu_forward(sums, at(pair.weight, b.row), act,
                                               at(pair.quantized, b.row, b.col), b.rows, b.cols);
}

void run_few_rows_swiglu(Context& ctx, const GemmKernels& kernels,
                         std::span<const GemmProblem* const> problems) {
  const ArenaScope scope(ctx.arena);
  const auto count = static_cast<int64_t>(problems.size());
  ArenaList<GemmProblem> products(ctx.arena, 2 * count);
  ArenaList<const GemmProblem*> list(ctx.arena, 2 * count);
  int64_t groups = 0;
  for (const GemmProblem* p : problems) groups += (p->m + kSmallM - 1) / kSmallM;
  struct Activation {
    const GemmProblem* p;
    SwigluBlock block;
  };
  ArenaList<Activation> activations(ctx.arena, groups);
  for (const GemmProblem* p : problems) {
    auto* sums = ctx.arena.alloc_array<float>(p->m * 2 * p->n);
    for (int64_t row = 0; row < p->m; row += kSmallM)
      activations.push(
          {p, {sums + row * 2 * p->n, 2 * p->n, row, std::min(kSmallM, p->m - row), 0, p->n}});
    products.push({p->m, p->n, p->k, p->a, p->b, sums, DType::kF32, 2 * p->n});
    products.push({p->m, p->n, p->k, p->a, p->swiglu->up, sums + p->n, DType::kF32, 2 * p->n});
  }
  for (const GemmProblem& p : products.span()) list.push(&p);
  run_few_rows(ctx, kernels, list.span(), false);
  ctx.pool.for_each(activations.count, [&](int64_t i, int) {
    finish_swiglu(ctx, kernels, *activations.data[i].p, activations.data[i].block);
  });
}

}  // namespace fathom::kernels::cpu
