// fathom bench gemm, grouped-gemm, few-rows: matrix products.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <numeric>

#include "base/error.h"
#include "bench/matrices.h"
#include "bench/runner.h"
#include "kernels/gemm.h"
#include "kernels/measure.h"
#include "model_argument.h"

namespace fathom::app {
namespace {

using kernels::GemmInput;

struct Shape {
  std::string name;
  int64_t m, n, k;
};

std::string text(const Shape& s) {
  return fmt::format("{}x{}x{}", s.m, s.n, s.k);
}

Shape parse_shape(const std::string& text) {
  Shape s{"gemm", 0, 0, 0};
  const char* p = text.data();
  const char* end = p + text.size();
  for (int64_t* value : {&s.m, &s.n, &s.k}) {
    const auto r = std::from_chars(p, end, *value);
    const bool last = value == &s.k;
    if (r.ec != std::errc() || *value <= 0 || (last ? r.ptr != end : r.ptr == end || *r.ptr != 'x'))
      throw UsageError(fmt::format("--shapes: '{}' is not a shape", text),
                       "write MxNxK, such as 2048x2048x2048");
    p = r.ptr + (last ? 0 : 1);
  }
  return s;
}

// The matrices of a layer with dense MLP, as the model multiplies them.
std::vector<Shape> model_shapes(const std::string& model, int64_t tokens) {
  const ModelConfig c = config_of(model);
  const int64_t D = c.hidden_size, H = c.num_attention_heads, C = c.kv_lora_rank;
  const int64_t q_width = H * c.qk_head_dim();
  std::vector<Shape> shapes;
  const auto add = [&](const char* name, int64_t n, int64_t k) {
    shapes.push_back({fmt::format("{} {}", model, name), tokens, n, k});
  };
  if (c.q_lora_rank > 0) {
    add("q_a+kv_a", c.q_lora_rank + c.cache_width(), D);
    add("q_b", q_width, c.q_lora_rank);
  } else {
    add("q+kv_a", q_width + c.cache_width(), D);
  }
  add("kv_b", H * (c.qk_nope_head_dim + c.v_head_dim), C);
  add("o", D, H * c.v_head_dim);
  add("gate+up", 2 * c.intermediate_size, D);
  add("down", D, c.intermediate_size);
  return shapes;
}

std::vector<Shape> shapes_of(const BenchGemmOptions& o) {
  std::vector<Shape> shapes;
  for (const std::string& model : o.models)
    for (const int64_t t : o.tokens)
      for (Shape& s : model_shapes(model, t)) shapes.push_back(std::move(s));
  for (const std::string& s : o.shapes) shapes.push_back(parse_shape(s));
  if (o.m > 0 || o.n > 0 || o.k > 0) {
    if (o.m <= 0 || o.n <= 0 || o.k <= 0)
      throw UsageError("--m, --n and --k go together", "give all three, or --shapes MxNxK");
    shapes.push_back({"gemm", o.m, o.n, o.k});
  }
  if (shapes.empty())
    for (const int64_t n : {512, 1024, 2048}) shapes.push_back({"gemm", n, n, n});
  return shapes;
}

void measure_gemm(BenchRun& run, const BenchGemmOptions& o, const Shape& s) {
  if (o.layout == "tn" && activation_dtype(o.dtype) != o.dtype)
    throw UsageError(fmt::format("--layout tn has no weights to be {}", o.dtype),
                     "use --layout nt or nn");
  const bool tn = o.layout == "tn", nt = o.layout == "nt";
  constexpr int64_t kSets = 3;
  const double inputs = static_cast<double>(s.m * s.k) * element_bytes(activation_dtype(o.dtype)) +
                        static_cast<double>(s.n * s.k) * element_bytes(o.dtype);
  require_memory(kSets * inputs + 4 * static_cast<double>(s.m * s.n));
  std::vector<Matrix> a, b;
  for (int64_t i = 0; i < kSets; ++i) {
    a.push_back(tn ? random_matrix(run.ctx(), o.dtype, Role::kTransposedActivation, s.k, s.m)
                   : random_matrix(run.ctx(), o.dtype, Role::kActivation, s.m, s.k));
    b.push_back(tn   ? random_matrix(run.ctx(), o.dtype, Role::kTransposedActivation, s.k, s.n)
                : nt ? random_matrix(run.ctx(), o.dtype, Role::kWeight, s.n, s.k)
                     : random_matrix(run.ctx(), o.dtype, Role::kWeight, s.k, s.n));
  }
  const Tensor c(tn || o.dtype == "fp32" ? DType::kF32 : DType::kBF16, {s.m, s.n});
  const auto multiply = tn ? kernels::gemm_tn : nt ? kernels::gemm_nt : kernels::gemm_nn;
  const auto precision = precision_of(o.dtype);
  BenchCase row;
  row.name = s.name;
  row.shape = fmt::format("{} {} {}", text(s), o.layout, o.dtype);
  row.work = {2.0 * static_cast<double>(s.m) * static_cast<double>(s.n * s.k), 0, precision};
  row.run = [&](int64_t i) {
    const auto set = static_cast<size_t>(i % kSets);
    multiply(run.ctx(), a[set].input(), b[set].input(), c, {precision, false});
  };
  row.peer =
      fmt::format(R"({{"op":"gemm","m":{},"n":{},"k":{},"layout":"{}","dtype":"{}","copies":{}}})",
                  s.m, s.n, s.k, o.layout, activation_dtype(o.dtype), kSets);
  run.measure(row);
}

}  // namespace

int run_bench_gemm(const GlobalOptions& global, const BenchGemmOptions& options) {
  const std::vector<Shape> shapes = shapes_of(options);
  BenchRun run(global, options, shapes.size());
  for (const Shape& s : shapes)
    if (!run.stopped()) measure_gemm(run, options, s);
  return run.finish();
}

int run_bench_few_rows(const GlobalOptions& global, const BenchFewRowsOptions& o) {
  BenchRun run(global, o, o.m.size());
  const double weight = static_cast<double>(o.n * o.k) * element_bytes(o.dtype);
  const int64_t sets =
      o.total_mb > 0 ? std::max<int64_t>(
                           1, static_cast<int64_t>(static_cast<double>(o.total_mb) * 1e6 / weight))
                     : sets_beyond_caches(weight);
  require_memory(static_cast<double>(sets) * weight);
  std::vector<Matrix> w;
  for (int64_t i = 0; i < sets && !run.stopped(); ++i)
    w.push_back(random_matrix(run.ctx(), o.dtype, Role::kWeight, o.n, o.k));
  const auto precision = precision_of(o.dtype);
  for (const int64_t m : o.m) {
    if (run.stopped()) break;
    const Tensor x =
        kernels::random_tensor(run.ctx(), o.dtype == "fp32" ? DType::kF32 : DType::kBF16, {m, o.k});
    const Tensor y(DType::kF32, {m, o.n});
    BenchCase row;
    row.name = "few-rows";
    row.shape = fmt::format("{}x{}x{} {}, {} sets", m, o.n, o.k, o.dtype, sets);
    row.work = {2 * static_cast<double>(m) * static_cast<double>(o.n * o.k), weight, precision};
    row.run = [&](int64_t i) {
      kernels::gemm_nt(run.ctx(), x, w[static_cast<size_t>(i % sets)].input(), y,
                       {precision, false});
    };
    row.peer = fmt::format(
        R"({{"op":"gemm","m":{},"n":{},"k":{},"layout":"nt","dtype":"{}","copies":{}}})", m, o.n,
        o.k, activation_dtype(o.dtype), sets);
    run.measure(row);
  }
  return run.finish();
}

}  // namespace fathom::app
