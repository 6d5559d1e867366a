// MLA attention: training and prefill forward, backward, absorbed decode over a latent cache.
//   attention_bench --benchmark_filter=forward
// Threads: FATHOM_BENCH_THREADS, else as many as usable processors; FATHOM_ISA forces an
// instruction set. FLOP/s count the causal half, as in kernels/attention.h. of_peak is their share
// of the multiply-add rate, of_roof that of the roof (the slower of arithmetic at that rate and the
// bytes at the read bandwidth), both measured just before and just after each row.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
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

int threads() {
  const char* n = std::getenv("FATHOM_BENCH_THREADS");
  return n ? std::atoi(n) : 0;
}

Context& context() {
  static ThreadPool pool(threads());
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

/// Work of one call.
struct Work {
  double flops = 0, bytes = 0;
  GemmPrecision precision = GemmPrecision::kBF16;
};

/// The multiply-add rate and, where bytes are known, the read bandwidth of the moment.
struct Roof {
  double flops = 0, bytes = 0;
  void measure(const Work& work) {
    flops = std::max(flops, measure_peak_flops(context(), work.precision));
    if (work.bytes > 0) bytes = std::max(bytes, measure_read_bandwidth(context()));
  }
  double seconds(const Work& work) const {
    return std::max(work.flops / flops, work.bytes > 0 ? work.bytes / bytes : 0);
  }
};

template <class Body>
void measure(benchmark::State& state, const Work& work, Body body) {
  body();
  Roof roof;
  roof.measure(work);
  for (auto _ : state) body();
  roof.measure(work);
  constexpr auto kRate = Counter::kIsIterationInvariantRate;
  state.counters["FLOP/s"] = Counter(work.flops, kRate);
  state.counters["of_peak"] = Counter(work.flops / roof.flops, kRate);
  if (work.bytes == 0) return;
  state.counters["B/s"] = Counter(work.bytes, kRate);
  state.counters["of_roof"] = Counter(roof.seconds(work), kRate);
}

/// Activations and gradients of `sequences` sequences of `length` keys, of which the last `queries`
/// are queries.
struct Problem {
  Problem(MlaShape shape_in, int64_t sequences, int64_t length, int64_t queries, DType dtype)
      : shape(shape_in) {
    const int64_t T = sequences * queries, S = sequences * length, H = shape.heads;
    const int64_t D = shape.nope_dim + shape.rope_dim, V = shape.v_dim;
    shape.scale = 1 / std::sqrt(static_cast<float>(D));
    for (int64_t s = 0; s <= sequences; ++s) {
      key_offsets.push_back(s * length);
      query_offsets.push_back(s * queries);
    }
    q = random_tensor(dtype, {T, H * D});
    kv = random_tensor(dtype, {S, H * (shape.nope_dim + V)});
    k_rope = random_tensor(dtype, {S, shape.rope_dim});
    dout = random_tensor(dtype, {T, H * V});
    out = Tensor(dtype, {T, H * V});
    lse = Tensor(DType::kF32, {T, H});
    dq = Tensor(dtype, {T, H * D});
    dkv = Tensor(dtype, {S, H * (shape.nope_dim + V)});
    dk_rope = Tensor(dtype, {S, shape.rope_dim});
    const auto n = static_cast<double>(queries), keys = static_cast<double>(length);
    work.flops = static_cast<double>(sequences * H * (D + V)) * n * (2 * keys - n);
    work.precision = dtype == DType::kBF16 ? GemmPrecision::kBF16 : GemmPrecision::kF32;
  }
  void forward() {
    mla_attention_forward(context(), shape, q, kv, k_rope, query_offsets, key_offsets, out, lse,
                          work.precision);
  }
  void backward() {
    mla_attention_backward(context(), shape, q, kv, k_rope, key_offsets, out, lse, dout, dq, dkv,
                           dk_rope, work.precision);
  }

  MlaShape shape;
  std::vector<int64_t> query_offsets, key_offsets;
  Tensor q, kv, k_rope, dout, out, lse, dq, dkv, dk_rope;
  Work work;
};

/// Arguments: sequences, their length, heads, nope_dim, rope_dim, v_dim, 1 for BF16.
Problem make_problem(const benchmark::State& s) {
  return {MlaShape{s.range(2), s.range(3), s.range(4), s.range(5)}, s.range(0), s.range(1),
          s.range(1), s.range(6) ? DType::kBF16 : DType::kF32};
}

void forward(benchmark::State& state) {
  Problem p = make_problem(state);
  measure(state, p.work, [&] { p.forward(); });
}

void backward(benchmark::State& state) {
  Problem p = make_problem(state);
  p.forward();
  Work work = p.work;
  work.flops *= 2.5;
  measure(state, work, [&] { p.backward(); });
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"seq", "T", "H", "nope", "rope", "v", "bf16"});
  for (int64_t bf16 : {1, 0}) {
    for (int64_t heads : {8, 16, 128}) b->Args({1, 2048, heads, 128, 64, 128, bf16});
    for (int64_t heads : {1, 3}) b->Args({1, 4096, heads, 128, 64, 128, bf16});
    b->Args({4, 512, 8, 128, 64, 128, bf16});
    b->Args({4, 512, 8, 32, 16, 32, bf16});
  }
  b->Unit(benchmark::kMillisecond)->UseRealTime();
}
BENCHMARK(forward)->Apply(shapes);
BENCHMARK(backward)->Apply(shapes);

/// A prefill chunk: the last `T` of `S` tokens. Arguments: T, S, heads.
void chunk(benchmark::State& state) {
  Problem p({state.range(2), 128, 64, 128}, 1, state.range(1), state.range(0), DType::kBF16);
  measure(state, p.work, [&] { p.forward(); });
}
BENCHMARK(chunk)
    ->ArgNames({"T", "S", "H"})
    ->ArgsProduct({{256, 512}, {4096}, {8, 16}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

/// Latent caches of several layers, as decoding walks through them: more bytes than the processor
/// caches, the rows in pages or contiguous.
class Caches {
 public:
  static constexpr int64_t kLatent = 512, kRope = 64;

  Caches(LatentCacheFormat format, int64_t rows, bool paged)
      : layout_{format, kLatent, kRope}, rows_(rows), paged_(paged) {
    constexpr int64_t kBytes = 128 << 20;
    layers_ = std::max<int64_t>(2, kBytes / bytes());
    memory_ = Tensor(DType::kU8, {layers_, bytes()});
    append_latent_rows(context(), random_tensor(DType::kF32, {rows, kLatent}),
                       random_tensor(DType::kF32, {rows, kRope}), layout_, layer(0));
    for (int64_t l = 1; l < layers_; ++l)
      std::memcpy(layer(l), layer(0), static_cast<size_t>(bytes()));
    for (int64_t l = 0; l < layers_; ++l)
      for (int64_t r = 0; r < rows; r += LatentCacheView::kPageRows)
        pages_.push_back(layer(l) + r * layout_.row_bytes());
  }
  int64_t bytes() const { return rows_ * layout_.row_bytes(); }
  LatentCacheView next() {
    const int64_t l = at_++ % layers_;
    LatentCacheView view{layout_, rows_, layer(l), layout_.row_bytes(), {}, {}};
    const auto pages = std::ssize(pages_) / layers_;
    if (paged_) view.pages = std::span(pages_).subspan(l * pages, pages);
    return view;
  }

 private:
  std::byte* layer(int64_t l) const {
    return static_cast<std::byte*>(memory_.view().data) + l * bytes();
  }
  LatentRowLayout layout_;
  int64_t rows_;
  bool paged_;
  int64_t layers_, at_ = 0;
  Tensor memory_;
  std::vector<const std::byte*> pages_;
};

/// Arguments: query tokens, heads, cache rows, LatentCacheFormat, 1 for pages of 64 rows.
void decode(benchmark::State& state) {
  constexpr int64_t C = Caches::kLatent, R = Caches::kRope;
  const int64_t T = state.range(0), H = state.range(1), S = state.range(2);
  const auto format = static_cast<LatentCacheFormat>(state.range(3));
  Caches caches(format, S, state.range(4) != 0);
  const Tensor q_latent = random_tensor(DType::kF32, {T, H, C});
  const Tensor q_rope = random_tensor(DType::kF32, {T, H, R});
  const Tensor out(DType::kF32, {T, H, C});
  std::vector<int32_t> position;
  for (int64_t t = 0; t < T; ++t) position.push_back(static_cast<int32_t>(S - T + t));
  const Work work{2.0 * static_cast<double>(T * H * S * (2 * C + R)),
                  static_cast<double>(caches.bytes()),
                  format == LatentCacheFormat::kF32 ? GemmPrecision::kF32 : GemmPrecision::kBF16};
  measure(state, work, [&] {
    mla_absorbed_decode(context(), q_latent, q_rope, caches.next(), position, 0.07f, out);
  });
}
void decode_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"T", "H", "S", "format", "paged"});
  for (auto format : {LatentCacheFormat::kBF16, LatentCacheFormat::kFP8, LatentCacheFormat::kF32})
    for (int64_t S : {8192, 32768})
      for (int64_t H : {16, 128})
        for (int64_t T : {1, 2, 4}) b->Args({T, H, S, static_cast<int64_t>(format), 0});
  for (auto format : {LatentCacheFormat::kBF16, LatentCacheFormat::kFP8})
    b->Args({1, 16, 8192, static_cast<int64_t>(format), 1});
  b->Args({1, 16, 512, static_cast<int64_t>(LatentCacheFormat::kBF16), 0});
  b->Unit(benchmark::kMillisecond)->UseRealTime();
}
BENCHMARK(decode)->Apply(decode_shapes);

}  // namespace
