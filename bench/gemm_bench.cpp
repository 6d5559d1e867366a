// Matrix products against the roofs of the same moment: machines shared with others change speed
// within seconds, so each row measures its roof just before and just after itself.
//
//   gemm_bench --benchmark_filter='square/nt/bf16/.*/threads:1'
//   gemm_bench --benchmark_filter='model/e4m3/'
//   gemm_bench --benchmark_filter='grouped/.*/zipf/'
//   gemm_bench --benchmark_filter='swiglu/'
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "base/philox.h"
#include "kernels/cpu/roof.h"
#include "kernels/gemm.h"
#include "kernels/swiglu.h"
#include "numerics/bf16.h"

namespace fathom {
namespace {

using kernels::GemmInput;
using kernels::GemmOptions;
using kernels::GemmPrecision;

/// A random matrix; E4M3 comes with scales, all powers of two.
struct Matrix {
  Matrix(DType dtype, int64_t rows, int64_t cols, kernels::ScaleTile tile, uint64_t seed)
      : values(dtype, {rows, cols}) {
    const Philox rng(seed);
    for (int64_t i = 0; i < rows * cols; ++i) set(i, rng.uniform(static_cast<uint64_t>(i)) - 0.5f);
    if (dtype != DType::kE4M3) return;
    scale = Tensor(DType::kF32, {kernels::scale_rows(rows, tile), kernels::scale_cols(cols, tile)});
    for (int64_t i = 0; i < scale.view().elements(); ++i)
      scale.as<float>()[i] = std::exp2(static_cast<float>(i % 5 - 2));
    scale_tile = tile;
  }
  void set(int64_t i, float v) const {
    if (values.view().dtype == DType::kF32)
      values.as<float>()[i] = v;
    else if (values.view().dtype == DType::kBF16)
      values.as<BF16>()[i] = to_bf16(v);
    else  // any but NaN
      static_cast<uint8_t*>(values.view().data)[i] =
          static_cast<uint8_t>(static_cast<int>(v * 252) & 0xfe);
  }
  GemmInput input() const {
    if (!scale) return values;
    return kernels::ConstQuantizedView(values, scale, scale_tile);
  }

  Tensor values, scale;
  kernels::ScaleTile scale_tile;
};

/// What every row runs in, and the peak around it.
struct Row {
  Row(int threads, Isa isa, GemmPrecision precision_in)
      : pool(threads), ctx{{}, pool, arena, isa}, precision(precision_in) {
    measure();
  }
  void measure() { peak = std::max(peak, kernels::measure_peak_flops(ctx, precision)); }
  void report(benchmark::State& state, double flops) {
    measure();
    using benchmark::Counter;
    const double total = flops * static_cast<double>(state.iterations());
    state.counters["FLOP/s"] = Counter(total, Counter::kIsRate);
    state.counters["of_peak"] = Counter(total / peak, Counter::kIsRate);
  }

  ThreadPool pool;
  Arena arena;
  Context ctx;
  GemmPrecision precision;
  double peak = 0;
};

/// Inputs as they are stored: activations and weights.
struct Format {
  const char* name;
  DType a, b;
  GemmPrecision precision;
};
constexpr Format kBF16{"bf16", DType::kBF16, DType::kBF16, GemmPrecision::kBF16};
constexpr Format kF32{"f32", DType::kF32, DType::kF32, GemmPrecision::kF32};
constexpr Format kE4M3{"e4m3", DType::kE4M3, DType::kE4M3, GemmPrecision::kBF16};
constexpr Format kMaster{"bf16_f32", DType::kBF16, DType::kF32, GemmPrecision::kBF16};

struct Product {
  std::string layout;
  int64_t m, n, k;
  Format format;
  Isa isa;
  int threads;
};

// Weights that are used once a step come from memory: so many are taken in turn.
constexpr int64_t kRotatedBytes = int64_t{80} << 20;

void run_product(benchmark::State& state, const Product& p) {
  Row row(p.threads, p.isa, p.format.precision);
  const bool tn = p.layout == "tn", nt = p.layout == "nt";
  const auto a_tile = tn ? kernels::kTile128x1 : kernels::kTile1x128;
  const Matrix x(p.format.a, tn ? p.k : p.m, tn ? p.m : p.k, a_tile, 1);
  const auto w_bytes = p.n * p.k * static_cast<int64_t>(size_of(p.format.b));
  std::vector<Matrix> w;
  for (uint64_t i = 0;
       i < static_cast<uint64_t>(std::clamp<int64_t>(kRotatedBytes / w_bytes, 1, 16)); ++i)
    w.emplace_back(p.format.b, nt ? p.n : p.k, nt ? p.k : p.n, kernels::kBlock128x128, 2 + i);
  const bool f32_out = tn || p.format.precision == GemmPrecision::kF32;
  const Tensor c(f32_out ? DType::kF32 : DType::kBF16, {p.m, p.n});
  const auto gemm = tn ? kernels::gemm_tn : nt ? kernels::gemm_nt : kernels::gemm_nn;
  const GemmOptions options{p.format.precision, false};
  gemm(row.ctx, x.input(), w[0].input(), c, options);
  size_t i = 0;
  for (auto _ : state) gemm(row.ctx, x.input(), w[++i % w.size()].input(), c, options);
  row.report(state, 2.0 * static_cast<double>(p.m * p.n * p.k));
}

/// Offsets of groups whose sizes are equal or fall as 1/rank, the order shuffled.
std::vector<int64_t> group_offsets(int64_t groups, int64_t rows, bool zipf) {
  double total = 0;
  const auto weight = [&](int64_t g) {
    return zipf ? 1.0 / static_cast<double>(1 + g * 37 % groups) : 1.0;  // 37: no common divisor
  };
  for (int64_t g = 0; g < groups; ++g) total += weight(g);
  std::vector<int64_t> offsets = {0};
  double sum = 0;
  for (int64_t g = 0; g < groups; ++g)
    offsets.push_back(std::llround((sum += weight(g)) / total * static_cast<double>(rows)));
  return offsets;
}

/// Weights [N, K] of each group: forward (nt), input gradient (nn) or weight gradient (tn).
struct Grouped {
  std::string pass;
  bool zipf;
  int64_t groups, rows, n, k;
  Format format;
  int threads;
};

struct GroupedData {
  explicit GroupedData(const Grouped& g)
      : x(g.format.a, g.rows, g.k, kernels::kTile1x128, 1),
        dy(g.format.a, g.rows, g.n, g.pass == "tn" ? kernels::kTile128x1 : kernels::kTile1x128, 2),
        y(DType::kBF16, {g.rows, g.n}),
        dx(DType::kBF16, {g.rows, g.k}),
        offsets(group_offsets(g.groups, g.rows, g.zipf)) {
    for (int64_t i = 0; i < g.groups; ++i) {
      w.emplace_back(g.format.b, g.n, g.k, kernels::kBlock128x128, 3 + static_cast<uint64_t>(i));
      if (g.pass == "tn") dw.emplace_back(DType::kF32, std::initializer_list<int64_t>{g.n, g.k});
    }
    for (const Matrix& m : w) w_views.push_back(m.input());
    for (const Tensor& t : dw) dw_views.push_back(t);
  }
  void run_grouped(Context& ctx, const std::string& pass) const {
    if (pass == "nt") kernels::grouped_gemm_nt(ctx, x.input(), w_views, y, offsets);
    if (pass == "nn") kernels::grouped_gemm_nn(ctx, dy.input(), w_views, dx, offsets);
    if (pass == "tn")
      kernels::grouped_gemm_tn(ctx, dy.input(), x.input(), dw_views, offsets,
                               {GemmPrecision::kBF16, true});
  }
  void run_dense(Context& ctx, const std::string& pass) const {
    if (pass == "nt") kernels::gemm_nt(ctx, x.input(), w_views[0], y);
    if (pass == "nn") kernels::gemm_nn(ctx, dy.input(), w_views[0], dx);
    if (pass == "tn")
      kernels::gemm_tn(ctx, dy.input(), x.input(), dw_views[0], {GemmPrecision::kBF16, true});
  }

  Matrix x, dy;
  Tensor y, dx;
  std::vector<int64_t> offsets;
  std::vector<Matrix> w;
  std::vector<Tensor> dw;
  std::vector<GemmInput> w_views;
  std::vector<TensorView> dw_views;
};

double seconds_of(const auto& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

/// of_dense: speed relative to one dense product of the same FLOPs, run in turn.
void run_grouped(benchmark::State& state, const Grouped& g) {
  Row row(g.threads, active_isa(), g.format.precision);
  const GroupedData data(g);
  data.run_grouped(row.ctx, g.pass);
  std::vector<double> grouped, dense;
  for (auto _ : state) {
    grouped.push_back(seconds_of([&] { data.run_grouped(row.ctx, g.pass); }));
    state.SetIterationTime(grouped.back());
    dense.push_back(seconds_of([&] { data.run_dense(row.ctx, g.pass); }));
  }
  row.report(state, 2.0 * static_cast<double>(g.rows * g.n * g.k));
  state.counters["of_dense"] = median(dense) / median(grouped);
}

/// of_apart: speed relative to two grouped products and the activation, run in turn. Both keep the
/// products for the backward pass, as training does.
void run_swiglu(benchmark::State& state, const Grouped& g) {
  Row row(g.threads, active_isa(), g.format.precision);
  const GroupedData gate(g), up(g);
  const Tensor gate_up(DType::kBF16, {g.rows, 2 * g.n}), act(DType::kBF16, {g.rows, g.n});
  kernels::SwigluOutput out;
  out.act_MN = act;
  out.gate_up_MN2 = gate_up;
  const TensorView products = gate_up;
  std::vector<double> fused, apart;
  for (auto _ : state) {
    fused.push_back(seconds_of([&] {
      kernels::grouped_gemm_nt_swiglu(row.ctx, gate.x.input(), gate.w_views, up.w_views, out,
                                      gate.offsets);
    }));
    state.SetIterationTime(fused.back());
    apart.push_back(seconds_of([&] {
      const GemmInput x = gate.x.input();
      kernels::grouped_gemm_nt(row.ctx, x, gate.w_views, products.col_range(0, g.n), gate.offsets);
      kernels::grouped_gemm_nt(row.ctx, x, up.w_views, products.col_range(g.n, g.n), gate.offsets);
      kernels::swiglu_forward(row.ctx, gate_up, act);
    }));
  }
  row.report(state, 4.0 * static_cast<double>(g.rows * g.n * g.k));
  state.counters["of_apart"] = median(apart) / median(fused);
}

std::string threads_and_shape(int threads, std::initializer_list<int64_t> shape) {
  std::string s = "threads:" + std::to_string(threads) + "/";
  for (int64_t n : shape) s += std::to_string(n) + (n == *(shape.end() - 1) ? "" : "x");
  return s;
}

template <class Body>
auto* add(const std::string& name, Body body) {
  return benchmark::RegisterBenchmark(name.c_str(), body)->Unit(benchmark::kMillisecond);
}

void add_product(const std::string& family, const Product& p) {
  add(family + "/" + threads_and_shape(p.threads, {p.m, p.n, p.k}), [p](benchmark::State& s) {
    run_product(s, p);
  })->UseRealTime();
}

struct Shape {
  const char* layout;
  int64_t m, n, k;
};
// A square one; a layer's forward, input gradient and weight gradient (tokens 2048, width 768 to
// 1408); odd sizes.
constexpr Shape kSquares[] = {
    {"nt", 2048, 2048, 2048}, {"nn", 2048, 2048, 2048}, {"tn", 2048, 2048, 2048},
    {"nt", 2048, 1408, 768},  {"nn", 2048, 768, 1408},  {"tn", 1408, 768, 2048},
    {"nt", 129, 1000, 517},
};

void add_squares(int threads) {
  for (const Shape& s : kSquares)
    for (const Format& f : {kBF16, kF32})
      for (Isa isa : available_isas())
        add_product(std::string("square/") + s.layout + "/" + f.name + "/" + name_of(isa),
                    {s.layout, s.m, s.n, s.k, f, isa, threads});
}

struct Weight {
  const char* name;
  int64_t n, k;
};
// The projections of DeepSeek-V2-Lite and of the preset `small`.
constexpr Weight kWeights[] = {
    {"lite/q", 3072, 2048},       {"lite/kv_a", 576, 2048},     {"lite/kv_b", 4096, 512},
    {"lite/o", 2048, 2048},       {"lite/gate+up", 2816, 2048}, {"lite/down", 2048, 1408},
    {"small/q_a+kv_a", 416, 512}, {"small/q_b", 768, 256},      {"small/kv_b", 1024, 128},
    {"small/o", 512, 512},        {"small/gate+up", 3072, 512}, {"small/down", 512, 1536},
};

void add_model_shapes(int threads) {
  for (const Weight& w : kWeights)
    for (const Format& f : {kBF16, kE4M3, kMaster})
      for (int64_t m : {128, 512, 4096})
        add_product(std::string("model/") + f.name + "/" + w.name,
                    {"nt", m, w.n, w.k, f, active_isa(), threads});
}

// Experts of DeepSeek-V2-Lite (top 6 of 64; 512 and 4,096 tokens) and of `small` (top 4 of 24; 512
// and 2,048).
struct Experts {
  const char* name;
  int64_t groups, n, k;
  int64_t rows[2];
  Format format;
};
constexpr Experts kExperts[] = {
    {"lite/bf16", 64, 1408, 2048, {3072, 24576}, kBF16},
    {"lite/e4m3", 64, 1408, 2048, {3072, 24576}, kE4M3},
    {"small/bf16_f32", 24, 192, 512, {2048, 8192}, kMaster},
};

void add_experts(int threads) {
  for (const Experts& e : kExperts)
    for (bool zipf : {false, true})
      for (int64_t rows : e.rows) {
        const std::string tail = std::string(zipf ? "/zipf/" : "/balanced/") + e.name + "/" +
                                 threads_and_shape(threads, {rows, e.n, e.k});
        for (const char* pass : {"nt", "nn", "tn"}) {
          const Grouped g{pass, zipf, e.groups, rows, e.n, e.k, e.format, threads};
          add("grouped/" + std::string(pass) + tail, [g](benchmark::State& s) {
            run_grouped(s, g);
          })->UseManualTime();
        }
        const Grouped g{"nt", zipf, e.groups, rows, e.n, e.k, e.format, threads};
        add("swiglu" + tail, [g](benchmark::State& s) { run_swiglu(s, g); })->UseManualTime();
      }
}

const bool registered = [] {
  std::vector<int> threads = {1};
  if (usable_cpus() > 1) threads.push_back(usable_cpus());
  for (int t : threads) {
    add_squares(t);
    add_model_shapes(t);
    add_experts(t);
  }
  return true;
}();

}  // namespace
}  // namespace fathom
