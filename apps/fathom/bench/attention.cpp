// fathom bench attention, decode-attention: MLA for training and prefill, and over a latent cache.
#include "kernels/attention.h"

#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "bench/runner.h"
#include "kernels/latent_cache.h"
#include "kernels/measure.h"

namespace fathom::app {
namespace {

using kernels::random_tensor;

/// Activations and gradients of `sequences` sequences of `length` tokens.
struct Problem {
  Problem(Context& ctx, const BenchAttentionOptions& o, int64_t length)
      : shape{o.heads, o.nope, o.rope, o.v, 1 / std::sqrt(static_cast<float>(o.nope + o.rope))},
        precision(precision_of(o.dtype)) {
    const DType dtype = dtype_of(o.dtype);
    const int64_t T = o.sequences * length, H = o.heads;
    for (int64_t s = 0; s <= o.sequences; ++s) offsets.push_back(s * length);
    q = random_tensor(ctx, dtype, {T, H * (o.nope + o.rope)});
    kv = random_tensor(ctx, dtype, {T, H * (o.nope + o.v)});
    k_rope = random_tensor(ctx, dtype, {T, o.rope});
    dout = random_tensor(ctx, dtype, {T, H * o.v});
    out = Tensor(dtype, {T, H * o.v});
    lse = Tensor(DType::kF32, {T, H});
    dq = Tensor(dtype, {T, H * (o.nope + o.rope)});
    dkv = Tensor(dtype, {T, H * (o.nope + o.v)});
    dk_rope = Tensor(dtype, {T, o.rope});
  }
  void forward(Context& ctx) const {
    kernels::mla_attention_forward(ctx, shape, q, kv, k_rope, offsets, out, lse, precision);
  }
  void backward(Context& ctx) const {
    kernels::mla_attention_backward(ctx, shape, q, kv, k_rope, offsets, out, lse, dout, dq, dkv,
                                    dk_rope, precision);
  }

  kernels::MlaShape shape;
  kernels::GemmPrecision precision;
  std::vector<int64_t> offsets;
  Tensor q, kv, k_rope, dout, out, lse, dq, dkv, dk_rope;
};

void measure_pass(BenchRun& run, const BenchAttentionOptions& o, const Problem& p, int64_t length,
                  bool forward) {
  const double T = static_cast<double>(length);
  const double flops = static_cast<double>(o.sequences * o.heads * (o.nope + o.rope + o.v)) * T * T;
  BenchCase row;
  row.name = forward ? "attention forward" : "attention backward";
  row.shape = fmt::format("{} x {} tokens, {} heads {}+{}/{} {}", o.sequences, length, o.heads,
                          o.nope, o.rope, o.v, o.dtype);
  row.work = {forward ? flops : 2.5 * flops, 0, p.precision};
  row.run = [&](int64_t) { forward ? p.forward(run.ctx()) : p.backward(run.ctx()); };
  row.peer = fmt::format(
      R"({{"op":"attention","pass":"{}","sequences":{},"tokens":{},"heads":{},"qk":{},"v":{},)"
      R"("dtype":"{}"}})",
      forward ? "forward" : "backward", o.sequences, length, o.heads, o.nope + o.rope, o.v,
      o.dtype);
  run.measure(row);
}

/// Latent caches of `cached` random tokens, as many as it takes to read them from memory.
struct Caches {
  Caches(Context& ctx, const BenchDecodeAttentionOptions& o, int64_t cached)
      : layout{format_of(o.dtype), o.latent, o.rope}, length(cached) {
    const Tensor latent = random_tensor(ctx, DType::kF32, {cached, o.latent});
    const Tensor k_rope = random_tensor(ctx, DType::kF32, {cached, o.rope});
    for (int64_t i = sets_beyond_caches(bytes()); i > 0; --i) {
      rows.emplace_back(DType::kU8, std::initializer_list<int64_t>{cached, layout.row_bytes()});
      kernels::append_latent_rows(ctx, latent, k_rope, layout, data(rows.size() - 1));
    }
  }
  static kernels::LatentCacheFormat format_of(const std::string& dtype) {
    using enum kernels::LatentCacheFormat;
    return dtype == "fp32" ? kF32 : dtype == "e4m3" ? kFP8 : kBF16;
  }
  double bytes() const { return static_cast<double>(length * layout.row_bytes()); }
  std::byte* data(size_t set) const { return static_cast<std::byte*>(rows[set].view().data); }
  kernels::LatentCacheView view(int64_t i) const {
    kernels::LatentCacheView v;
    v.layout = layout;
    v.length = length;
    v.rows = data(static_cast<size_t>(i) % rows.size());
    v.row_stride = layout.row_bytes();
    return v;
  }

  kernels::LatentRowLayout layout;
  int64_t length;
  std::vector<Tensor> rows;
};

void measure_decode(BenchRun& run, const BenchDecodeAttentionOptions& o, int64_t cached) {
  const int64_t T = o.queries, H = o.heads, width = o.latent + o.rope;
  const Caches caches(run.ctx(), o, cached);
  const Tensor q_latent = random_tensor(run.ctx(), DType::kF32, {T, H, o.latent});
  const Tensor q_rope = random_tensor(run.ctx(), DType::kF32, {T, H, o.rope});
  const Tensor out(DType::kF32, {T, H, o.latent});
  std::vector<int32_t> position;
  for (int64_t t = 0; t < T; ++t) position.push_back(static_cast<int32_t>(cached - T + t));
  BenchCase row;
  row.name = "decode-attention";
  row.shape = fmt::format("{} queries, {} heads, {} cached {}", T, H, cached, o.dtype);
  row.work = {
      2.0 * static_cast<double>(T * H * cached) * static_cast<double>(2 * o.latent + o.rope),
      caches.bytes(), precision_of(o.dtype)};
  const float scale = 1 / std::sqrt(static_cast<float>(width));
  row.run = [&](int64_t i) {
    kernels::mla_absorbed_decode(run.ctx(), q_latent, q_rope, caches.view(i), position, scale, out);
  };
  row.peer = fmt::format(
      R"({{"op":"decode_attention","heads":{},"queries":{},"cache":{},"latent":{},"rope":{},)"
      R"("dtype":"{}","copies":{}}})",
      H, T, cached, o.latent, o.rope, o.dtype, caches.rows.size());
  run.measure(row);
}

}  // namespace

int run_bench_attention(const GlobalOptions& global, const BenchAttentionOptions& o) {
  BenchRun run(global, o, o.tokens.size() * (o.pass == "both" ? 2 : 1));
  for (const int64_t length : o.tokens) {
    if (run.stopped()) break;
    const Problem p(run.ctx(), o, length);
    if (o.pass != "backward") measure_pass(run, o, p, length, true);
    if (o.pass == "forward" || run.stopped()) continue;
    p.forward(run.ctx());
    measure_pass(run, o, p, length, false);
  }
  return run.finish();
}

int run_bench_decode_attention(const GlobalOptions& global, const BenchDecodeAttentionOptions& o) {
  for (const int64_t cached : o.cache)
    if (cached < o.queries)
      throw UsageError(fmt::format("--cache: {} tokens cannot hold {} queries", cached, o.queries),
                       "queries are the last tokens of the cache");
  BenchRun run(global, o, o.cache.size());
  for (const int64_t cached : o.cache)
    if (!run.stopped()) measure_decode(run, o, cached);
  return run.finish();
}

}  // namespace fathom::app
