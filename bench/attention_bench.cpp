// MLA attention: training forward and backward, absorbed decode over a latent cache.
//   attention_bench --benchmark_filter=forward
// Threads: as many as usable processors; FATHOM_ISA forces an instruction set. FLOP/s count the
// causal half, as in kernels/attention.h; of_peak is their share of the multiply-add rate measured
// just before and just after each row.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/context.h"
#include "base/philox.h"
#include "kernels/attention.h"
#include "kernels/cpu/roof.h"
#include "numerics/bf16.h"

namespace {

using namespace fathom;
using namespace fathom::kernels;
using benchmark::Counter;

Context& context() {
  static ThreadPool pool;
  static Arena arena;
  static Context ctx{Device{}, pool, arena};
  return ctx;
}

Tensor random_tensor(DType dtype, std::initializer_list<int64_t> shape) {
  Tensor t(dtype, shape);
  const Philox rng(static_cast<uint64_t>(t.view().elements()));
  for (int64_t i = 0; i < t.view().elements(); ++i) {
    const float x = rng.uniform(i) - 0.5f;
    if (dtype == DType::kBF16)
      t.as<BF16>()[i] = to_bf16(x);
    else
      t.as<float>()[i] = x;
  }
  return t;
}

/// Activations and gradients of `sequences` sequences of `length` tokens.
struct Problem {
  Problem(MlaShape shape_in, int64_t sequences, int64_t length, DType dtype) : shape(shape_in) {
    const int64_t T = sequences * length, H = shape.heads, D = shape.nope_dim + shape.rope_dim;
    shape.scale = 1 / std::sqrt(static_cast<float>(D));
    for (int64_t s = 0; s <= sequences; ++s) offsets.push_back(s * length);
    q = random_tensor(dtype, {T, H * D});
    kv = random_tensor(dtype, {T, H * (shape.nope_dim + shape.v_dim)});
    k_rope = random_tensor(dtype, {T, shape.rope_dim});
    dout = random_tensor(dtype, {T, H * shape.v_dim});
    out = Tensor(dtype, {T, H * shape.v_dim});
    lse = Tensor(DType::kF32, {T, H});
    dq = Tensor(dtype, {T, H * D});
    dkv = Tensor(dtype, {T, H * (shape.nope_dim + shape.v_dim)});
    dk_rope = Tensor(dtype, {T, shape.rope_dim});
    const auto n = static_cast<double>(length);
    flops = static_cast<double>(sequences * H * (D + shape.v_dim)) * n * n;
  }
  void forward() {
    mla_attention_forward(context(), shape, q, kv, k_rope, offsets, out, lse, precision());
  }
  void backward() {
    mla_attention_backward(context(), shape, q, kv, k_rope, offsets, out, lse, dout, dq, dkv,
                           dk_rope, precision());
  }
  GemmPrecision precision() const {
    return q.view().dtype == DType::kBF16 ? GemmPrecision::kBF16 : GemmPrecision::kF32;
  }

  MlaShape shape;
  std::vector<int64_t> offsets;
  Tensor q, kv, k_rope, dout, out, lse, dq, dkv, dk_rope;
  double flops;
};

/// Arguments: sequences, their length, heads, nope_dim, rope_dim, v_dim, 1 for BF16.
Problem make_problem(const benchmark::State& s) {
  return {MlaShape{s.range(2), s.range(3), s.range(4), s.range(5)}, s.range(0), s.range(1),
          s.range(6) ? DType::kBF16 : DType::kF32};
}

/// Times body and reports its rate and the share of the peak of the moment.
template <class Body>
void measure(benchmark::State& state, double flops, GemmPrecision precision, Body body) {
  body();
  double peak = measure_peak_flops(context(), precision);
  for (auto _ : state) body();
  peak = std::max(peak, measure_peak_flops(context(), precision));
  state.counters["FLOP/s"] = Counter(flops, Counter::kIsIterationInvariantRate);
  state.counters["of_peak"] = Counter(flops / peak, Counter::kIsIterationInvariantRate);
}

void forward(benchmark::State& state) {
  Problem p = make_problem(state);
  measure(state, p.flops, p.precision(), [&] { p.forward(); });
}

void backward(benchmark::State& state) {
  Problem p = make_problem(state);
  p.forward();
  measure(state, 2.5 * p.flops, p.precision(), [&] { p.backward(); });
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"seq", "T", "H", "nope", "rope", "v", "bf16"});
  for (int64_t bf16 : {1, 0}) {
    b->Args({4, 512, 8, 128, 64, 128, bf16});
    b->Args({1, 2048, 8, 128, 64, 128, bf16});
    b->Args({1, 2048, 16, 128, 64, 128, bf16});
    b->Args({4, 512, 8, 32, 16, 32, bf16});
  }
  b->Unit(benchmark::kMillisecond)->UseRealTime();
}
BENCHMARK(forward)->Apply(shapes);
BENCHMARK(backward)->Apply(shapes);

/// Arguments: query tokens, heads, cache rows, 1 for BF16. B/s count the cache once.
void decode(benchmark::State& state) {
  constexpr int64_t C = 512, R = 64;
  const int64_t T = state.range(0), H = state.range(1), S = state.range(2);
  const bool bf16 = state.range(3) != 0;
  const Tensor q_latent = random_tensor(DType::kF32, {T, H, C});
  const Tensor q_rope = random_tensor(DType::kF32, {T, H, R});
  const Tensor cache = random_tensor(bf16 ? DType::kBF16 : DType::kF32, {S, C + R});
  const Tensor out(DType::kF32, {T, H, C});
  std::vector<int32_t> position;
  for (int64_t t = 0; t < T; ++t) position.push_back(static_cast<int32_t>(S - T + t));
  measure(state, 2.0 * static_cast<double>(T * H * S * (2 * C + R)),
          bf16 ? GemmPrecision::kBF16 : GemmPrecision::kF32,
          [&] { mla_absorbed_decode(context(), q_latent, q_rope, cache, position, 0.07f, out); });
  state.counters["B/s"] =
      Counter(static_cast<double>(cache.view().bytes()), Counter::kIsIterationInvariantRate);
}
BENCHMARK(decode)
    ->ArgNames({"T", "H", "S", "bf16"})
    ->ArgsProduct({{1, 4}, {16, 128}, {512, 8192}, {1, 0}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
