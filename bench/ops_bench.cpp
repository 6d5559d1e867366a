// The small operations, which are bound by memory: GB/s of the bytes that each must move (inputs
// once, outputs once, a read and a write where it accumulates) in the median time, and their share
// of the DRAM read bandwidth, the median of measurements just before and just after the row.
//   ops_bench --benchmark_filter=rmsnorm
// Threads: as many as usable processors; FATHOM_ISA forces an instruction set. Data are larger than
// the caches: T = 4096 tokens, D = 7168. With FATHOM_BENCH_TOKENS=16 they fit in L2: what
// arithmetic allows. On a busy machine bind it to one processor (taskset -c 0): then it counts the
// time that it had the processor.
#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/philox.h"
#include "kernels/adamw.h"
#include "kernels/cross_entropy.h"
#include "kernels/e5m6.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/gating.h"
#include "kernels/logfmt.h"
#include "kernels/permute.h"
#include "kernels/quantize.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/swiglu.h"
#include "numerics/bf16.h"

namespace {

using namespace fathom;
using namespace fathom::kernels;

constexpr int64_t kDim = 7168, kExperts = 256, kTopK = 8;
const int64_t kTokens = [] {
  const char* tokens = std::getenv("FATHOM_BENCH_TOKENS");
  return tokens ? std::atoll(tokens) : int64_t{4096};
}();
const int64_t kRouted = kTokens / 4;

Context& context() {
  static ThreadPool pool;
  static Arena arena;
  static Context ctx{Device{}, pool, arena};
  return ctx;
}

/// Uniform in [−0.5, 0.5), the same 64 Ki values over and over.
Tensor random_tensor(DType dtype, std::initializer_list<int64_t> shape) {
  Tensor t(dtype, shape);
  constexpr int64_t kPeriod = 65536;
  const int64_t n = t.view().elements();
  const Philox rng(1);
  Tensor values(DType::kF32, {std::min(n, kPeriod)});
  for (int64_t i = 0; i < values.view().elements(); ++i)
    values.as<float>()[i] = rng.uniform(i) - 0.5f;
  const TensorView flat = t.view().reshape({n});
  for (int64_t i = 0; i < n; i += kPeriod) {
    const int64_t count = std::min(kPeriod, n - i);
    copy(context(), values.view().row_range(0, count), flat.row_range(i, count));
  }
  return t;
}

/// Seconds on the clock; with one thread, those that it had the processor, which other processes do
/// not lengthen.
double now() {
  timespec t;
  clock_gettime(context().pool.size() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}
double seconds(const std::function<void()>& work) {
  const double start = now();
  work();
  return now() - start;
}

/// DRAM read bandwidth now, bytes a second: each thread touches every cache line of its part of
/// 512 MiB, in four streams.
double read_bandwidth() {
  constexpr int64_t kLine = 8;  // words of 8 bytes
  static const Tensor memory(DType::kI64, {int64_t{64} << 20});
  static std::vector<int64_t> sink(static_cast<size_t>(context().pool.size()));
  int64_t* data = memory.as<int64_t>();
  static const bool touched = (std::fill_n(data, memory.view().elements(), 1), true);
  benchmark::DoNotOptimize(touched);
  const double time = seconds([&] {
    context().pool.for_range(memory.view().elements(), 1 << 20,
                             [&](int64_t begin, int64_t end, int thread) {
                               const int64_t n = (end - begin) / 4;
                               int64_t sum[4] = {};
                               for (int64_t i = begin; i < begin + n; i += kLine)
                                 for (int s = 0; s < 4; ++s) sum[s] += data[i + s * n];
                               sink[thread] += sum[0] + sum[1] + sum[2] + sum[3];
                             });
  });
  return static_cast<double>(memory.view().bytes()) / time;
}

struct Op {
  double bytes;
  std::function<void()> work;
};

/// Of a busy machine the median says more than the mean.
double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void measure(benchmark::State& state, const std::function<Op()>& make) {
  const Op op = make();
  op.work();
  std::vector<double> roofs = {read_bandwidth(), read_bandwidth()}, times;
  for (auto _ : state) times.push_back(seconds(op.work));
  roofs.insert(roofs.end(), {read_bandwidth(), read_bandwidth()});
  const double roof = median(roofs), rate = op.bytes / median(times);
  state.counters["GB/s"] = rate / 1e9;
  state.counters["roof_GB/s"] = roof / 1e9;
  state.counters["share_%"] = 100 * rate / roof;
}

double bytes_of(std::initializer_list<ConstTensorView> views) {
  double sum = 0;
  for (const ConstTensorView& v : views) sum += static_cast<double>(v.bytes());
  return sum;
}

Op copy_op(DType from, DType to) {
  const auto x = std::make_shared<Tensor>(random_tensor(from, {kTokens, kDim}));
  const auto y = std::make_shared<Tensor>(to, std::initializer_list<int64_t>{kTokens, kDim});
  return {bytes_of({*x, *y}), [=] { copy(context(), *x, *y); }};
}

struct Norm {
  explicit Norm(DType type)
      : x(random_tensor(type, {kTokens, kDim})),
        dy(random_tensor(type, {kTokens, kDim})),
        w(random_tensor(type, {kDim})),
        y(type, {kTokens, kDim}),
        dw(DType::kF32, {kDim}),
        rstd(DType::kF32, {kTokens}) {
    rmsnorm_forward(context(), x, w, 1e-6f, y, rstd);
  }
  Tensor x, dy, w, y, dw, rstd;
};

Op norm_forward(DType type) {
  const auto n = std::make_shared<Norm>(type);
  return {bytes_of({n->x, n->y}),
          [=] { rmsnorm_forward(context(), n->x, n->w, 1e-6f, n->y, n->rstd); }};
}

Op norm_backward_input(DType type) {
  const auto n = std::make_shared<Norm>(type);
  return {bytes_of({n->x, n->dy, n->y}),
          [=] { rmsnorm_backward_input(context(), n->dy, n->x, n->w, n->rstd, n->y, false); }};
}

Op norm_backward_weight(DType type) {
  const auto n = std::make_shared<Norm>(type);
  return {bytes_of({n->x, n->dy}),
          [=] { rmsnorm_backward_weight(context(), n->dy, n->x, n->rstd, n->dw); }};
}

Op swiglu_op(DType type, bool backward) {
  constexpr int64_t kWidth = 4096;
  struct Data {
    Tensor x, y, dx;
  };
  const auto d = std::make_shared<Data>(random_tensor(type, {kTokens, 2 * kWidth}),
                                        random_tensor(type, {kTokens, kWidth}),
                                        random_tensor(type, {kTokens, 2 * kWidth}));
  if (backward)
    return {bytes_of({d->x, d->y, d->dx}), [=] { swiglu_backward(context(), d->x, d->y, d->dx); }};
  return {bytes_of({d->x, d->y}), [=] { swiglu_forward(context(), d->x, d->y); }};
}

/// An E4M3 matrix with its scales.
struct Quantized {
  Quantized(int64_t rows, int64_t cols, ScaleTile tile)
      : codes(DType::kE4M3, {rows, cols}),
        scale(DType::kF32, {scale_rows(rows, tile), scale_cols(cols, tile)}),
        view(codes, scale, tile) {}
  double bytes() const { return bytes_of({codes, scale}); }
  Tensor codes, scale;
  QuantizedView view;
};

Op quantize_op(DType type, ScaleTile tile) {
  const auto x = std::make_shared<Tensor>(random_tensor(type, {kTokens, kDim}));
  const auto q = std::make_shared<Quantized>(kTokens, kDim, tile);
  return {bytes_of({*x}) + q->bytes(),
          [=] { quantize(context(), *x, q->view, ScaleFormat::kF32); }};
}

Op dequantize_op(DType type, ScaleTile tile) {
  const auto x = std::make_shared<Tensor>(random_tensor(type, {kTokens, kDim}));
  const auto q = std::make_shared<Quantized>(kTokens, kDim, tile);
  quantize(context(), *x, q->view, ScaleFormat::kF32);
  return {bytes_of({*x}) + q->bytes(), [=] { dequantize(context(), q->view, *x); }};
}

Op requantize_op() {
  const Tensor x = random_tensor(DType::kF32, {kTokens, kDim});
  const auto from = std::make_shared<Quantized>(kTokens, kDim, kTile1x128);
  const auto to = std::make_shared<Quantized>(kTokens, kDim, kTile128x1);
  quantize(context(), x, from->view, ScaleFormat::kPowerOfTwo);
  return {from->bytes() + to->bytes(),
          [=] { requantize(context(), from->view, to->view, ScaleFormat::kPowerOfTwo); }};
}

Op norm_forward_quantized(DType type) {
  const auto n = std::make_shared<Norm>(type);
  const auto q = std::make_shared<Quantized>(kTokens, kDim, kTile1x128);
  return {
      bytes_of({n->x}) + q->bytes(), [=] {
        rmsnorm_forward(context(), n->x, n->w, 1e-6f, {}, {q->view, ScaleFormat::kF32}, n->rstd);
      }};
}

/// From gate and up in BF16 to the quantized input of down_proj, weighted by the routing.
Op swiglu_quantized_op() {
  constexpr int64_t kWidth = 4096;
  const auto x = std::make_shared<Tensor>(random_tensor(DType::kBF16, {kTokens, 2 * kWidth}));
  const auto w = std::make_shared<Tensor>(random_tensor(DType::kF32, {kTokens}));
  const auto q = std::make_shared<Quantized>(kTokens, kWidth, kTile1x128);
  return {bytes_of({*x}) + q->bytes(), [=] {
            swiglu_forward(context(), *x, *w, {}, {q->view, ScaleFormat::kF32});
          }};
}

/// From gate and up cached in E4M3: their gradient, the output again and the weight's gradient.
Op swiglu_recompute_op() {
  constexpr int64_t kWidth = 4096;
  struct Data {
    Tensor dy, w, dx, act, dw;
    Quantized cached;
  };
  const Tensor x = random_tensor(DType::kBF16, {kTokens, 2 * kWidth});
  const auto d = std::make_shared<Data>(
      Data{random_tensor(DType::kBF16, {kTokens, kWidth}), random_tensor(DType::kF32, {kTokens}),
           Tensor(DType::kBF16, {kTokens, 2 * kWidth}), Tensor(DType::kBF16, {kTokens, kWidth}),
           Tensor(DType::kF32, {kTokens}), Quantized(kTokens, 2 * kWidth, kTile1x128)});
  quantize(context(), x, d->cached.view, ScaleFormat::kF32);
  return {bytes_of({d->dy, d->dx, d->act}) + d->cached.bytes(), [=] {
            swiglu_backward(context(), d->cached.view, d->w, d->dy, {d->dx, {}, d->act, d->dw});
          }};
}

Op e5m6_op(bool unpack) {
  const auto x = std::make_shared<Tensor>(random_tensor(DType::kBF16, {kTokens, kDim}));
  const auto packed = std::make_shared<Tensor>(
      DType::kU8, std::initializer_list<int64_t>{kTokens, e5m6_row_bytes(kDim)});
  const auto scale = std::make_shared<Tensor>(
      DType::kU8, std::initializer_list<int64_t>{kTokens, e5m6_row_scales(kDim)});
  e5m6_pack(context(), *x, *packed, *scale);
  if (unpack)
    return {bytes_of({*x, *packed}), [=] { e5m6_unpack(context(), *packed, *scale, *x); }};
  return {bytes_of({*x, *packed}), [=] { e5m6_pack(context(), *x, *packed, *scale); }};
}

Op logfmt_op(LogFmt format, bool decode) {
  const auto x = std::make_shared<Tensor>(random_tensor(DType::kBF16, {kTokens, kDim}));
  const auto packed = std::make_shared<Tensor>(
      DType::kU8, std::initializer_list<int64_t>{kTokens, logfmt_row_bytes(format, kDim)});
  logfmt_encode(context(), format, *x, *packed);
  if (decode)
    return {bytes_of({*x, *packed}), [=] { logfmt_decode(context(), format, *packed, *x); }};
  return {bytes_of({*x, *packed}), [=] { logfmt_encode(context(), format, *x, *packed); }};
}

/// The roped quarter of the queries of 128 heads of 192.
Op rope_op(DType type) {
  constexpr int64_t kHeads = 64, kHead = 192, kRope = 64;
  struct Data {
    Tensor q, cos, sin;
    std::vector<int32_t> position;
  };
  const auto d = std::make_shared<Data>(random_tensor(type, {kTokens, kHeads * kHead}),
                                        random_tensor(DType::kF32, {kTokens, kRope / 2}),
                                        random_tensor(DType::kF32, {kTokens, kRope / 2}));
  for (int32_t t = 0; t < kTokens; ++t) d->position.push_back(t);
  fill(context(), d->cos, 0.6f);  // a rotation: repeating it keeps the data in range
  fill(context(), d->sin, 0.8f);
  const TensorView x =
      d->q.view().reshape({kTokens, kHeads, kHead}).col_range(kHead - kRope, kRope);
  return {2 * bytes_of({x}), [=] { rope(context(), x, d->position, d->cos, d->sin, false); }};
}

Op embedding_op(DType type, bool backward) {
  constexpr int64_t kVocab = 32768;
  struct Data {
    Tensor w, y;
    std::vector<int32_t> token;
  };
  const auto d =
      std::make_shared<Data>(random_tensor(backward ? DType::kF32 : type, {kVocab, kDim}),
                             random_tensor(type, {kTokens, kDim}));
  for (int64_t t = 0; t < kTokens; ++t)
    d->token.push_back(static_cast<int32_t>(Philox(2).below(t, kVocab)));
  const double rows = bytes_of({d->w.view().row_range(0, kTokens)});
  if (backward)
    return {2 * rows + bytes_of({d->y}),
            [=] { embedding_backward(context(), d->y, d->token, d->w); }};
  return {rows + bytes_of({d->y}), [=] { embedding_forward(context(), d->w, d->token, d->y); }};
}

/// A quarter of the tokens, so that the slots of K choices fit comfortably in memory.
struct Routed {
  explicit Routed(DType type)
      : x(random_tensor(type, {kRouted, kDim})),
        y(random_tensor(type, {kRouted * kTopK, kDim})),
        out(random_tensor(DType::kF32, {kRouted, kDim})),
        weight(random_tensor(DType::kF32, {kRouted, kTopK})),
        expert(DType::kI32, {kRouted, kTopK}) {
    for (int64_t i = 0; i < kRouted * kTopK; ++i)
      expert.as<int32_t>()[i] =
          static_cast<int32_t>((Philox(3).below(i / kTopK, kExperts) + 5 * i) % kExperts);
    plan = plan_experts(context(), expert, kExperts);
  }
  Tensor x, y, out, weight, expert;
  ExpertPlan plan;
};

Op permute_op(DType type) {
  const auto r = std::make_shared<Routed>(type);
  return {bytes_of({r->x, r->y}), [=] { permute(context(), r->plan, r->x, r->y); }};
}

Op unpermute_op(DType type) {
  const auto r = std::make_shared<Routed>(type);
  return {bytes_of({r->y, r->out, r->out}),
          [=] { unpermute(context(), r->plan, r->y, r->weight, r->out); }};
}

Op adamw_op(DType moments) {
  struct Data {
    Tensor w, g, m, v;
  };
  const int64_t n = kTokens * kDim;
  const auto d =
      std::make_shared<Data>(random_tensor(DType::kF32, {n}), random_tensor(DType::kF32, {n}),
                             Tensor(moments, {n}), Tensor(moments, {n}));
  return {bytes_of({d->w, d->w, d->g, d->m, d->m, d->v, d->v}),
          [=] { adamw(context(), {.lr = 1e-3, .step = 7}, d->w, d->g, d->m, d->v); }};
}

Op ema_op(DType type) {
  const auto w = std::make_shared<Tensor>(random_tensor(DType::kF32, {kTokens, kDim}));
  const auto a = std::make_shared<Tensor>(random_tensor(type, {kTokens, kDim}));
  return {bytes_of({*w, *a, *a}), [=] { ema_update(context(), 0.99f, *w, *a); }};
}

Op add_scaled_op(DType type) {
  const auto x = std::make_shared<Tensor>(random_tensor(type, {kTokens, kDim}));
  const auto y = std::make_shared<Tensor>(random_tensor(DType::kF32, {kTokens, kDim}));
  return {bytes_of({*x, *y, *y}), [=] { add_scaled(context(), 0.5f, *x, *y); }};
}

Op fill_op(DType type) {
  const auto x = std::make_shared<Tensor>(random_tensor(type, {kTokens, kDim}));
  return {bytes_of({*x}), [=] { fill(context(), *x, 0); }};
}

Op sum_of_squares_op(DType type) {
  const auto x = std::make_shared<Tensor>(random_tensor(type, {kTokens, kDim}));
  return {bytes_of({*x}), [=] { benchmark::DoNotOptimize(sum_of_squares(context(), *x)); }};
}

/// V3's gate; its data fit in cache, the choice of experts takes the time.
Op gating_op(int part) {
  struct Data {
    Tensor logits, bias, scores, weight, dnormalized, dlogits, expert;
    GateConfig config;
  };
  const auto d = std::make_shared<Data>(
      random_tensor(DType::kF32, {kTokens, kExperts}), random_tensor(DType::kF32, {kExperts}),
      random_tensor(DType::kF32, {kTokens, kExperts}), random_tensor(DType::kF32, {kTokens, kTopK}),
      random_tensor(DType::kF32, {kTokens, kExperts}),
      random_tensor(DType::kF32, {kTokens, kExperts}), Tensor(DType::kI32, {kTokens, kTopK}),
      GateConfig{kExperts, kTopK, 8, 4, GateScoring::kSigmoid, GateSelection::kGroupTop2, true,
                 2.5f});
  const auto forward = [=] {
    gating_forward(context(), d->config, d->logits, d->bias, d->scores, d->expert, d->weight);
  };
  forward();
  if (part == 0) return {bytes_of({d->logits, d->scores}), forward};
  if (part == 1)
    return {bytes_of({d->scores, d->dnormalized, d->dlogits}), [=] {
              gating_backward(context(), d->config, d->scores, d->expert, d->weight, d->dnormalized,
                              d->dlogits);
            }};
  return {bytes_of({d->scores, d->dnormalized}), [=] {
            sequence_balance_loss(context(), d->config, d->scores, 512, 1e-4f, 1, d->dnormalized);
          }};
}

/// The row passes of the fused loss: D is small, so that the products weigh little.
Op head_loss_op(bool backward) {
  constexpr int64_t kVocab = 32768, kWidth = 16;
  struct Data {
    Tensor h, w, loss, dh, dw;
    std::vector<int32_t> target;
  };
  const auto d = std::make_shared<Data>(
      random_tensor(DType::kBF16, {kTokens, kWidth}), random_tensor(DType::kBF16, {kVocab, kWidth}),
      Tensor(DType::kF32, {kTokens}), Tensor(DType::kBF16, {kTokens, kWidth}),
      Tensor(DType::kF32, {kVocab, kWidth}));
  d->target.assign(kTokens, 5);
  const auto logits = static_cast<double>(4 * kTokens * kVocab);
  if (!backward)
    return {logits, [=] {
              head_loss_forward(context(), d->h, d->w, d->target, d->loss, GemmPrecision::kBF16);
            }};
  return {2 * logits, [=] {
            head_loss_forward_backward(context(), d->h, d->w, d->target, 1, d->loss, d->dh, d->dw,
                                       GemmPrecision::kBF16);
          }};
}

void add(const std::string& name, const std::function<Op()>& make) {
  benchmark::RegisterBenchmark(name.c_str(), [make](benchmark::State& s) { measure(s, make); })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime()
      ->MinTime(0.2);
}

void add_quantization() {
  const std::pair<const char*, ScaleTile> tiles[] = {
      {"1x128", kTile1x128}, {"128x1", kTile128x1}, {"128x128", kBlock128x128}};
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const std::string suffix = std::string("/") + name_of(type);
    for (const auto& [name, tile] : tiles)
      add("quantize/" + std::string(name) + suffix, [=, t = tile] { return quantize_op(type, t); });
    add("dequantize/1x128" + suffix, [=] { return dequantize_op(type, kTile1x128); });
    add("rmsnorm_forward_quantized" + suffix, [=] { return norm_forward_quantized(type); });
  }
  add("requantize/1x128/128x1", requantize_op);
  add("swiglu_forward_quantized/BF16", swiglu_quantized_op);
  add("swiglu_backward_recompute/E4M3", swiglu_recompute_op);
  for (const bool unpack : {false, true}) {
    add(unpack ? "e5m6_unpack/BF16" : "e5m6_pack/BF16", [=] { return e5m6_op(unpack); });
    const std::string name = unpack ? "logfmt_decode/" : "logfmt_encode/";
    add(name + "8", [=] { return logfmt_op(kLogFmt8, unpack); });
    add(name + "10", [=] { return logfmt_op(kLogFmt10, unpack); });
  }
}

void add_all() {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const std::string suffix = std::string("/") + name_of(type);
    add("copy" + suffix + "/F32", [=] { return copy_op(type, DType::kF32); });
    add("copy" + suffix + "/BF16", [=] { return copy_op(type, DType::kBF16); });
    add("fill" + suffix, [=] { return fill_op(type); });
    add("add_scaled" + suffix, [=] { return add_scaled_op(type); });
    add("sum_of_squares" + suffix, [=] { return sum_of_squares_op(type); });
    add("rmsnorm_forward" + suffix, [=] { return norm_forward(type); });
    add("rmsnorm_backward_input" + suffix, [=] { return norm_backward_input(type); });
    add("rmsnorm_backward_weight" + suffix, [=] { return norm_backward_weight(type); });
    add("swiglu_forward" + suffix, [=] { return swiglu_op(type, false); });
    add("swiglu_backward" + suffix, [=] { return swiglu_op(type, true); });
    add("rope" + suffix, [=] { return rope_op(type); });
    add("embedding_forward" + suffix, [=] { return embedding_op(type, false); });
    add("embedding_backward" + suffix, [=] { return embedding_op(type, true); });
    add("permute" + suffix, [=] { return permute_op(type); });
    add("unpermute" + suffix, [=] { return unpermute_op(type); });
    add("adamw" + suffix, [=] { return adamw_op(type); });
    add("ema_update" + suffix, [=] { return ema_op(type); });
  }
  add("gating_forward", [] { return gating_op(0); });
  add("gating_backward", [] { return gating_op(1); });
  add("sequence_balance_loss", [] { return gating_op(2); });
  add("head_loss_forward/D=16", [] { return head_loss_op(false); });
  add("head_loss_forward_backward/D=16", [] { return head_loss_op(true); });
}

}  // namespace

int main(int argc, char** argv) {
  add_all();
  add_quantization();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
