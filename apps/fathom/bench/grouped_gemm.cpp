// fathom bench grouped-gemm: the products of experts, beside one dense product of the same FLOPs.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "bench/matrices.h"
#include "bench/runner.h"
#include "kernels/gemm.h"
#include "kernels/measure.h"

namespace fathom::app {
namespace {

using kernels::GemmInput;

// Rows of each expert: equal, by Zipf's law (the e-th gets a share of 1/e), or all to one.
std::vector<int64_t> group_offsets(const BenchGroupedOptions& o) {
  std::vector<double> share(static_cast<size_t>(o.experts));
  for (size_t e = 0; e < share.size(); ++e)
    share[e] = o.skew == "zipf"  ? 1 / static_cast<double>(e + 1)
               : o.skew == "one" ? static_cast<double>(e == 0)
                                 : 1.0;
  const double all = std::accumulate(share.begin(), share.end(), 0.0);
  std::vector<int64_t> offsets = {0};
  double sum = 0;
  for (const double s : share) {
    sum += s;
    offsets.push_back(static_cast<int64_t>(std::llround(sum / all * static_cast<double>(o.rows))));
  }
  return offsets;
}

/// The data of all experts, and how they are multiplied. Of `nt` and `nn` the output has a row for
/// each row of `a`; of `tn` (weight gradients) a matrix for each expert.
struct Experts {
  Experts(Context& ctx, const BenchGroupedOptions& o) : options(o), offsets(group_offsets(o)) {
    const bool tn = o.layout == "tn", nt = o.layout == "nt";
    const Role role = tn ? Role::kTransposedActivation : Role::kActivation;
    a = random_matrix(ctx, o.dtype, role, o.rows, o.k);
    if (tn) {
      b.push_back(random_matrix(ctx, o.dtype, role, o.rows, o.n));
      c = Tensor(DType::kF32, {o.experts, o.k, o.n});
    } else {
      for (int64_t e = 0; e < o.experts; ++e)
        b.push_back(random_matrix(ctx, o.dtype, Role::kWeight, nt ? o.n : o.k, nt ? o.k : o.n));
      c = Tensor(o.dtype == "fp32" ? DType::kF32 : DType::kBF16, {o.rows, o.n});
    }
  }

  void multiply(Context& ctx) const {
    const kernels::GemmOptions how{precision_of(options.dtype), false};
    if (options.layout == "tn") {
      std::vector<TensorView> parts;
      for (int64_t e = 0; e < options.experts; ++e)
        parts.push_back(c.view().row_range(e, 1).reshape({options.k, options.n}));
      return kernels::grouped_gemm_tn(ctx, a.input(), b[0].input(), parts, offsets, how);
    }
    std::vector<GemmInput> weights;
    for (const Matrix& w : b) weights.push_back(w.input());
    const auto grouped =
        options.layout == "nt" ? kernels::grouped_gemm_nt : kernels::grouped_gemm_nn;
    grouped(ctx, a.input(), weights, c, offsets, how);
  }

  // As if there were one expert.
  void multiply_dense(Context& ctx) const {
    const kernels::GemmOptions how{precision_of(options.dtype), false};
    if (options.layout == "tn")
      return kernels::gemm_tn(ctx, a.input(), b[0].input(),
                              c.view().row_range(0, 1).reshape({options.k, options.n}), how);
    const auto dense = options.layout == "nt" ? kernels::gemm_nt : kernels::gemm_nn;
    dense(ctx, a.input(), b[0].input(), c, how);
  }

  const BenchGroupedOptions& options;
  std::vector<int64_t> offsets;
  Matrix a;
  std::vector<Matrix> b;
  Tensor c;
};

double bytes_of(const BenchGroupedOptions& o) {
  const double matrices = static_cast<double>(o.experts) * static_cast<double>(o.n * o.k);
  const double rows = static_cast<double>(o.rows) * static_cast<double>(o.n + o.k);
  return matrices * (o.layout == "tn" ? 4 : element_bytes(o.dtype)) + 4 * rows;
}

}  // namespace

int run_bench_grouped(const GlobalOptions& global, const BenchGroupedOptions& o) {
  BenchRun run(global, o, 1);
  require_memory(bytes_of(o));
  const Experts experts(run.ctx(), o);
  BenchCase row;
  row.name = "grouped-gemm " + o.skew;
  row.shape =
      fmt::format("{} experts, {}x{}x{} {} {}", o.experts, o.rows, o.n, o.k, o.layout, o.dtype);
  row.work = {2.0 * static_cast<double>(o.rows) * static_cast<double>(o.n * o.k), 0,
              precision_of(o.dtype)};
  row.run = [&](int64_t) { experts.multiply(run.ctx()); };
  row.baseline = "dense";
  row.baseline_run = [&](int64_t) { experts.multiply_dense(run.ctx()); };
  row.peer = fmt::format(
      R"({{"op":"grouped_gemm","offsets":[{}],"n":{},"k":{},"layout":"{}","dtype":"{}"}})",
      fmt::join(experts.offsets, ","), o.n, o.k, o.layout, o.dtype);
  run.measure(row);
  return run.finish();
}

}  // namespace fathom::app
