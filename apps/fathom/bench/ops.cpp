// fathom bench ops: operations bound by memory. Bytes count inputs and outputs once, twice where an
// output is added to.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "bench/runner.h"
#include "kernels/adamw.h"
#include "kernels/elementwise.h"
#include "kernels/measure.h"
#include "kernels/rmsnorm.h"
#include "kernels/swiglu.h"

namespace fathom::app {
namespace {

using kernels::random_tensor;

/// An operation with its data: what moves, and how it is run.
struct Op {
  double bytes;
  std::function<void()> run;
};

double bytes_of(std::initializer_list<ConstTensorView> views) {
  double sum = 0;
  for (const ConstTensorView& v : views) sum += static_cast<double>(v.bytes());
  return sum;
}

// Tensors that live as long as the operation that is made of them.
using Shared = std::shared_ptr<Tensor>;
Shared share(Tensor t) {
  return std::make_shared<Tensor>(std::move(t));
}

Op rmsnorm(Context& ctx, DType dtype, int64_t T, int64_t D) {
  const auto x = share(random_tensor(ctx, dtype, {T, D})), y = share({dtype, {T, D}});
  const auto w = share(random_tensor(ctx, DType::kF32, {D})), rstd = share({DType::kF32, {T}});
  return {bytes_of({*x, *y}),
          [=, &ctx] { kernels::rmsnorm_forward(ctx, *x, *w, 1e-6f, *y, *rstd); }};
}

Op rmsnorm_backward(Context& ctx, DType dtype, int64_t T, int64_t D) {
  const auto x = share(random_tensor(ctx, dtype, {T, D})),
             dy = share(random_tensor(ctx, dtype, {T, D}));
  const auto w = share(random_tensor(ctx, DType::kF32, {D}));
  const auto rstd = share(random_tensor(ctx, DType::kF32, {T})), dx = share({dtype, {T, D}});
  return {bytes_of({*x, *dy, *dx}),
          [=, &ctx] { kernels::rmsnorm_backward_input(ctx, *dy, *x, *w, *rstd, *dx, false); }};
}

Op swiglu(Context& ctx, DType dtype, int64_t T, int64_t F) {
  const auto x = share(random_tensor(ctx, dtype, {T, 2 * F})), y = share({dtype, {T, F}});
  return {bytes_of({*x, *y}), [=, &ctx] { kernels::swiglu_forward(ctx, *x, *y); }};
}

Op swiglu_backward(Context& ctx, DType dtype, int64_t T, int64_t F) {
  const auto x = share(random_tensor(ctx, dtype, {T, 2 * F})), dx = share({dtype, {T, 2 * F}});
  const auto dy = share(random_tensor(ctx, dtype, {T, F}));
  return {bytes_of({*x, *dy, *dx}), [=, &ctx] { kernels::swiglu_backward(ctx, *x, *dy, *dx); }};
}

Op copy(Context& ctx, DType dtype, int64_t T, int64_t D) {
  const auto x = share(random_tensor(ctx, dtype, {T, D})), y = share({dtype, {T, D}});
  return {bytes_of({*x, *y}), [=, &ctx] { kernels::copy(ctx, *x, *y); }};
}

Op add_scaled(Context& ctx, DType dtype, int64_t T, int64_t D) {
  const auto x = share(random_tensor(ctx, dtype, {T, D})), y = share({DType::kF32, {T, D}});
  return {bytes_of({*x, *y, *y}), [=, &ctx] { kernels::add_scaled(ctx, 1e-3f, *x, *y); }};
}

Op adamw(Context& ctx, DType dtype, int64_t T, int64_t D) {
  const auto w = share(random_tensor(ctx, DType::kF32, {T, D}));
  const auto g = share(random_tensor(ctx, DType::kF32, {T, D}));
  const auto m = share({dtype, {T, D}}), v = share({dtype, {T, D}});
  kernels::AdamWStep step;
  step.lr = 1e-4;
  return {bytes_of({*w, *w, *g, *m, *m, *v, *v}),
          [=, &ctx] { kernels::adamw(ctx, step, *w, *g, *m, *v); }};
}

using Make = Op (*)(Context&, DType, int64_t tokens, int64_t dim);
const std::vector<std::pair<std::string, Make>>& operations() {
  static const std::vector<std::pair<std::string, Make>> all = {
      {"rmsnorm", rmsnorm}, {"rmsnorm-backward", rmsnorm_backward},
      {"swiglu", swiglu},   {"swiglu-backward", swiglu_backward},
      {"copy", copy},       {"add-scaled", add_scaled},
      {"adamw", adamw}};
  return all;
}

std::vector<std::pair<std::string, Make>> chosen(const std::vector<std::string>& names) {
  if (names.empty()) return operations();
  std::vector<std::pair<std::string, Make>> some;
  std::vector<std::string> known;
  for (const auto& op : operations()) known.push_back(op.first);
  for (const std::string& name : names) {
    const auto at = std::find(known.begin(), known.end(), name);
    if (at == known.end())
      throw UsageError(fmt::format("--only: no operation '{}'", name),
                       fmt::format("one of {}", fmt::join(known, ", ")));
    some.push_back(operations()[static_cast<size_t>(at - known.begin())]);
  }
  return some;
}

void measure_op(BenchRun& run, const BenchOpsOptions& o, const std::string& name, Make make) {
  std::vector<Op> sets = {make(run.ctx(), dtype_of(o.dtype), o.tokens, o.dim)};
  const double bytes = sets[0].bytes;
  const int64_t count = sets_beyond_caches(bytes);
  require_memory(2 * static_cast<double>(count) * bytes);
  while (static_cast<int64_t>(sets.size()) < count)
    sets.push_back(make(run.ctx(), dtype_of(o.dtype), o.tokens, o.dim));
  BenchCase row;
  row.name = name;
  row.shape = fmt::format("{}x{} {}", o.tokens, o.dim, o.dtype);
  row.work = {0, bytes, precision_of(o.dtype)};
  row.run = [&](int64_t i) { sets[static_cast<size_t>(i % count)].run(); };
  if (name == "rmsnorm" || name == "swiglu")
    row.peer = fmt::format(R"({{"op":"{}","tokens":{},"dim":{},"dtype":"{}","copies":{}}})", name,
                           o.tokens, o.dim, o.dtype, count);
  run.measure(row);
}

}  // namespace

int run_bench_ops(const GlobalOptions& global, const BenchOpsOptions& o) {
  const auto ops = chosen(o.only);
  BenchRun run(global, o, ops.size());
  for (const auto& [name, make] : ops)
    if (!run.stopped()) measure_op(run, o, name, make);
  return run.finish();
}

}  // namespace fathom::app
