// Matrix products against the roofs of the same moment: machines shared with others change speed
// within seconds, so each row measures its roof just before and just after itself.
//
//   gemm_bench --benchmark_filter='nt/bf16/.*/2048x2048x2048'
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/philox.h"
#include "kernels/cpu/roof.h"
#include "kernels/gemm.h"
#include "numerics/bf16.h"

namespace fathom {
namespace {

using kernels::GemmOptions;
using kernels::GemmPrecision;

struct Bench {
  std::string layout;
  int64_t m, n, k;
  GemmPrecision precision;
  DType input;
  Isa isa;
  int threads;
};

Tensor random_matrix(DType dtype, int64_t rows, int64_t cols, uint64_t seed) {
  Tensor x(dtype, {rows, cols});
  const Philox rng(seed);
  for (int64_t i = 0; i < rows * cols; ++i) {
    const float v = rng.uniform(static_cast<uint64_t>(i)) - 0.5f;
    if (dtype == DType::kBF16)
      x.as<BF16>()[i] = to_bf16(v);
    else
      x.as<float>()[i] = v;
  }
  return x;
}

/// The peak just measured, kept as the best of the moments around a row.
class Roof {
 public:
  Roof(Context& ctx, GemmPrecision precision) : ctx_(ctx), precision_(precision) { measure(); }
  void measure() { flops_ = std::max(flops_, kernels::measure_peak_flops(ctx_, precision_)); }
  double flops() const { return flops_; }

 private:
  Context& ctx_;
  GemmPrecision precision_;
  double flops_ = 0;
};

void run(benchmark::State& state, const Bench& b) {
  ThreadPool pool(b.threads);
  Arena arena;
  Context ctx{{}, pool, arena, b.isa};
  const bool tn = b.layout == "tn", nt = b.layout == "nt";
  const Tensor x = tn ? random_matrix(b.input, b.k, b.m, 1) : random_matrix(b.input, b.m, b.k, 1);
  const Tensor w = nt ? random_matrix(b.input, b.n, b.k, 2) : random_matrix(b.input, b.k, b.n, 2);
  const Tensor c(tn ? DType::kF32 : b.input, {b.m, b.n});
  const auto gemm = tn ? kernels::gemm_tn : nt ? kernels::gemm_nt : kernels::gemm_nn;
  gemm(ctx, x, w, c, {b.precision, false});
  Roof roof(ctx, b.precision);
  for (auto _ : state) gemm(ctx, x, w, c, {b.precision, false});
  roof.measure();
  const double flops = 2.0 * static_cast<double>(b.m * b.n * b.k);
  const auto iterations = static_cast<double>(state.iterations());
  using benchmark::Counter;
  state.counters["FLOP/s"] = Counter(flops * iterations, Counter::kIsRate);
  state.counters["of_peak"] = Counter(flops * iterations / roof.flops(), Counter::kIsRate);
  state.counters["B/s"] =
      Counter(static_cast<double>(w.view().bytes()) * iterations, Counter::kIsRate);
}

/// Reading memory, the roof of products with few rows (B/s there counts the weights alone).
void read_memory(benchmark::State& state, int threads) {
  ThreadPool pool(threads);
  Arena arena;
  Context ctx{{}, pool, arena};
  double best = 0;
  for (auto _ : state) best = std::max(best, kernels::measure_read_bandwidth(ctx));
  state.counters["B/s"] = best;
}

void add(const Bench& b) {
  const std::string name = b.layout + (b.precision == GemmPrecision::kBF16 ? "/bf16/" : "/f32/") +
                           name_of(b.isa) + "/threads:" + std::to_string(b.threads) + "/" +
                           std::to_string(b.m) + "x" + std::to_string(b.n) + "x" +
                           std::to_string(b.k);
  benchmark::RegisterBenchmark(name.c_str(), [b](benchmark::State& s) { run(s, b); })
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

struct Shape {
  const char* layout;
  int64_t m, n, k;
};
// A square one; a layer's forward, input gradient and weight gradient (tokens 2048, width 768 to
// 1408); odd sizes; decoding with 1, 4 and 16 tokens against weights larger than the caches.
constexpr Shape kShapes[] = {
    {"nt", 2048, 2048, 2048}, {"nn", 2048, 2048, 2048}, {"tn", 2048, 2048, 2048},
    {"nt", 2048, 1408, 768},  {"nn", 2048, 768, 1408},  {"tn", 1408, 768, 2048},
    {"nt", 129, 1000, 517},   {"nt", 1, 8192, 8192},    {"nt", 4, 8192, 8192},
    {"nt", 16, 8192, 8192},   {"nn", 1, 8192, 8192},
};

const bool registered = [] {
  std::vector<int> threads = {1};
  if (usable_cpus() > 1) threads.push_back(usable_cpus());
  for (const Shape& s : kShapes)
    for (GemmPrecision p : {GemmPrecision::kBF16, GemmPrecision::kF32})
      for (Isa isa : available_isas())
        for (int t : threads)
          add({s.layout, s.m, s.n, s.k, p, p == GemmPrecision::kBF16 ? DType::kBF16 : DType::kF32,
               isa, t});
  for (int t : threads)
    benchmark::RegisterBenchmark(("read_memory/threads:" + std::to_string(t)).c_str(),
                                 [t](benchmark::State& s) { read_memory(s, t); })
        ->Iterations(1);
  return true;
}();

}  // namespace
}  // namespace fathom
