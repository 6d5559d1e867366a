// Products with 1 to 16 rows against the bandwidth of reading memory. A gibibyte of weights, far
// more than the caches hold, serves as many matrices in rotation as fit; machines shared with
// others change speed within seconds, so each row measures its roof just before and just after
// itself.
//
//   few_rows_bench --benchmark_filter='nt/F8_E4M3/1x.*/threads:2'
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/philox.h"
#include "kernels/cpu/roof.h"
#include "kernels/gemm.h"

namespace fathom {
namespace {

using kernels::GemmInput;

constexpr int64_t kWeightBytes = int64_t{1} << 30;
constexpr int64_t kScaleSide = 128;

/// One context for a number of threads, for all rows of the table.
struct Setup {
  explicit Setup(int threads) : pool(threads) {}
  ThreadPool pool;
  Arena arena;
  Context ctx{{}, pool, arena};
};

/// Random bytes that are ordinary numbers in each format: no NaN, infinity or subnormal.
const Tensor& weights(Context& ctx) {
  static const Tensor bytes = [&] {
    Tensor t(DType::kU8, {kWeightBytes});
    auto* words = static_cast<uint32_t*>(t.view().data);
    const Philox rng(1);
    ctx.pool.for_range(kWeightBytes / 16, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const auto r = rng.block(static_cast<uint64_t>(i));
        for (int64_t w = 0; w < 4; ++w) words[4 * i + w] = (r[w] & 0xbebebebeu) | 0x20202020u;
      }
    });
    return t;
  }();
  return bytes;
}

const Tensor& scales() {
  static const Tensor values = [] {
    Tensor t(DType::kF32, {256, 256});
    const Philox rng(2);
    for (int64_t i = 0; i < t.view().elements(); ++i)
      t.as<float>()[i] = 0.5f + rng.uniform(static_cast<uint64_t>(i));
    return t;
  }();
  return values;
}

/// As many matrices as the weights hold, at most `most`.
std::vector<GemmInput> matrices(Context& ctx, DType dtype, int64_t rows, int64_t cols,
                                int64_t most) {
  const int64_t bytes = rows * cols * static_cast<int64_t>(size_of(dtype));
  const auto* data = static_cast<const std::byte*>(weights(ctx).view().data);
  std::vector<GemmInput> all;
  for (int64_t i = 0; i < std::min(most, kWeightBytes / bytes); ++i) {
    GemmInput w = ConstTensorView(data + i * bytes, dtype, {rows, cols});
    if (dtype == DType::kE4M3) {
      w.scale = scales().view();
      w.tile = {kScaleSide, kScaleSide};
    }
    all.push_back(w);
  }
  return all;
}

Tensor random_rows(int64_t rows, int64_t cols) {
  Tensor x(DType::kF32, {rows, cols});
  const Philox rng(3);
  for (int64_t i = 0; i < rows * cols; ++i)
    x.as<float>()[i] = rng.uniform(static_cast<uint64_t>(i)) - 0.5f;
  return x;
}

struct Case {
  const char* layout;
  DType dtype;
  int64_t m, n, k;
  int threads;
  int64_t most = kWeightBytes;  ///< matrices in rotation
};

void report(benchmark::State& state, double bytes, double flops, double roof) {
  using benchmark::Counter;
  const auto iterations = static_cast<double>(state.iterations());
  state.counters["B/s"] = Counter(bytes * iterations, Counter::kIsRate);
  state.counters["FLOP/s"] = Counter(flops * iterations, Counter::kIsRate);
  state.counters["of_read_bandwidth"] = Counter(bytes * iterations / roof, Counter::kIsRate);
}

/// One product after the other.
void run(benchmark::State& state, const Case& x) {
  Setup s(x.threads);
  const bool nt = std::string(x.layout) == "nt";
  const auto w =
      nt ? matrices(s.ctx, x.dtype, x.n, x.k, x.most) : matrices(s.ctx, x.dtype, x.k, x.n, x.most);
  const Tensor a = random_rows(x.m, x.k);
  const Tensor c(DType::kF32, {x.m, x.n});
  const auto gemm = nt ? kernels::gemm_nt : kernels::gemm_nn;
  size_t next = 0;
  double roof = kernels::measure_read_bandwidth(s.ctx);
  for (auto _ : state) gemm(s.ctx, a, w[next++ % w.size()], c, {});
  roof = std::max(roof, kernels::measure_read_bandwidth(s.ctx));
  report(state, static_cast<double>(w[0].values.bytes()),
         2.0 * static_cast<double>(x.m * x.n * x.k), roof);
}

/// 32 of the experts, m rows each, in one call.
void run_grouped(benchmark::State& state, const Case& x) {
  Setup s(x.threads);
  constexpr int64_t kActive = 32;
  const auto w = matrices(s.ctx, x.dtype, x.n, x.k, x.most);
  const Tensor a = random_rows(kActive * x.m, x.k);
  const Tensor c(DType::kF32, {kActive * x.m, x.n});
  std::vector<int64_t> offsets;
  for (int64_t g = 0; g <= kActive; ++g) offsets.push_back(g * x.m);
  size_t next = 0;
  double roof = kernels::measure_read_bandwidth(s.ctx);
  for (auto _ : state) {
    const std::span<const GemmInput> active(w.data() + next, kActive);
    next = next + 2 * kActive > w.size() ? 0 : next + kActive;
    kernels::grouped_gemm_nt(s.ctx, a, active, c, offsets);
  }
  roof = std::max(roof, kernels::measure_read_bandwidth(s.ctx));
  report(state, static_cast<double>(kActive * static_cast<int64_t>(w[0].values.bytes())),
         2.0 * static_cast<double>(kActive * x.m * x.n * x.k), roof);
}

void add(const Case& x) {
  const bool grouped = std::string(x.layout) == "grouped";
  const std::string name = std::string(x.layout) + "/" + name_of(x.dtype) + "/" +
                           std::to_string(x.m) + "x" + std::to_string(x.n) + "x" +
                           std::to_string(x.k) + (x.most == 1 ? "/cached" : "") +
                           "/threads:" + std::to_string(x.threads);
  benchmark::RegisterBenchmark(
      name.c_str(), [=](benchmark::State& s) { grouped ? run_grouped(s, x) : run(s, x); })
      ->UseRealTime()
      ->MinTime(0.3)
      ->Unit(benchmark::kMicrosecond);
}

struct Shape {
  int64_t n, k;
};
// DeepSeek-V3's decoding at one row: q_a, q_b, o, an expert's gate and down, the dense down; and
// short rows.
constexpr Shape kDecode[] = {{1536, 7168}, {24576, 1536}, {7168, 16384}, {2048, 7168},
                             {7168, 2048}, {7168, 18432}, {4096, 512}};

const bool registered = [] {
  std::vector<int> threads = {1};
  if (usable_cpus() > 1) threads.push_back(usable_cpus());
  for (int t : threads) {
    for (DType dtype : {DType::kE4M3, DType::kBF16, DType::kF32})
      for (const Shape& s : kDecode) add({"nt", dtype, 1, s.n, s.k, t});
    for (DType dtype : {DType::kE4M3, DType::kBF16})
      for (int64_t m : {2, 4, 8, 16}) add({"nt", dtype, m, 2048, 7168, t});
    for (DType dtype : {DType::kE4M3, DType::kBF16, DType::kF32})
      for (int64_t m : {1, 4, 16}) add({"nn", dtype, m, 7168, 2048, t});
    for (DType dtype : {DType::kE4M3, DType::kBF16})
      for (int64_t m : {1, 4}) add({"grouped", dtype, m, 1408, 2048, t});
    for (int64_t n : {512, 2048}) add({"nt", DType::kBF16, 1, n, 512, t, 1});
  }
  return true;
}();

}  // namespace
}  // namespace fathom
