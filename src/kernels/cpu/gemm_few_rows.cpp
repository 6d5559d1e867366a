#include <algorithm>

#include "kernels/cpu/gemm_driver.h"

namespace fathom::kernels::cpu {
namespace {

constexpr int64_t kTaskCols = 64;

/// A column range of one problem; a points to the rows of A as pack_dot writes them.
struct DotTask {
  const GemmProblem* p;
  const std::byte* a;
  int64_t col, cols;
};

void run_dot(const GemmKernels& kernels, const DotTask& task, bool accumulate) {
  const GemmProblem& p = *task.p;
  float sum[kSmallM * kTaskCols];
  DotBlock block{task.a, GemmKernels::dot_row_bytes(p.k), p.b, p.m, task.cols, p.k, sum, kTaskCols};
  block.b.data = static_cast<const std::byte*>(p.b.data) +
                 task.col * p.b.stride * static_cast<int64_t>(size_of(p.b.dtype));
  kernels.dot(block);
  if (p.c_dtype == DType::kBF16)
    return round_rows(kernels, sum, kTaskCols, p, 0, task.col, p.m, task.cols);
  for (int64_t m = 0; m < p.m; ++m) {
    float* c = static_cast<float*>(p.c) + m * p.c_stride + task.col;
    const float* s = sum + m * kTaskCols;
    for (int64_t n = 0; n < task.cols; ++n) c[n] = accumulate ? c[n] + s[n] : s[n];
  }
}

}  // namespace

void run_few_rows(Context& ctx, const GemmKernels& kernels,
                  std::span<const GemmProblem* const> problems, bool accumulate) {
  if (problems.empty()) return;
  ArenaScope scope(ctx.arena);
  int64_t tasks_max = 0;
  for (const GemmProblem* p : problems) tasks_max += (p->n + kTaskCols - 1) / kTaskCols;
  ArenaList<DotTask> tasks(ctx.arena, tasks_max);
  for (const GemmProblem* p : problems) {
    const int64_t row_bytes = GemmKernels::dot_row_bytes(p->k);
    auto* a = ctx.arena.alloc_array<std::byte>(p->m * row_bytes);
    for (int64_t m = 0; m < p->m; ++m) kernels.pack_dot(p->a, m, p->k, a + m * row_bytes);
    for (int64_t n = 0; n < p->n; n += kTaskCols)
      tasks.push({p, a, n, std::min(kTaskCols, p->n - n)});
  }
  ctx.pool.for_each(tasks.count,
                    [&](int64_t i, int) { run_dot(kernels, tasks.data[i], accumulate); });
}

}  // namespace fathom::kernels::cpu
