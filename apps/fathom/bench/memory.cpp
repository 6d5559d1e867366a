// fathom bench memory: reading, writing and copying, by one thread and by all.
#include <fmt/format.h>

#include <cstring>

#include "bench/runner.h"
#include "kernels/measure.h"

namespace fathom::app {
namespace {

constexpr int64_t kBytes = int64_t{256} << 20;

/// Buffers that are each larger than most caches.
struct Buffers {
  Buffers(Context& ctx)
      : from(kernels::random_tensor(ctx, DType::kF32, {kBytes / 4})),
        to(DType::kF32, {kBytes / 4}) {}
  Tensor from, to;
};

using Pass = void (*)(const std::byte* from, std::byte* to, size_t bytes);

void write_pass(const std::byte*, std::byte* to, size_t bytes) {
  std::memset(to, 1, bytes);
}

void copy_pass(const std::byte* from, std::byte* to, size_t bytes) {
  std::memcpy(to, from, bytes);
}

// As many independent sums as the compiler makes vectors of; four streams.
void read_pass(const std::byte* from, std::byte*, size_t bytes) {
  const size_t part = bytes / 4 / 64 * 64;
  uint64_t sum[4] = {};
  for (size_t i = 0; i < part; i += 64)
    for (size_t s = 0; s < 4; ++s) {
      uint64_t word;
      std::memcpy(&word, from + s * part + i, sizeof word);
      sum[s] += word;
    }
  volatile uint64_t sink = sum[0] + sum[1] + sum[2] + sum[3];
  static_cast<void>(sink);
}

void measure_pass(BenchRun& run, Context& ctx, const Buffers& data, const char* name, Pass pass,
                  double bytes) {
  const auto* from = static_cast<const std::byte*>(data.from.view().data);
  auto* to = static_cast<std::byte*>(data.to.view().data);
  BenchCase row;
  row.name = name;
  row.shape = fmt::format("{} MiB, {} {}", kBytes >> 20, ctx.pool.size(),
                          ctx.pool.size() == 1 ? "thread" : "threads");
  row.work = {0, bytes, {}};
  row.context = &ctx;
  row.run = [&](int64_t) {
    ctx.pool.for_range(kBytes, 4096, [&](int64_t begin, int64_t end, int) {
      pass(from + begin, to + begin, static_cast<size_t>(end - begin));
    });
  };
  run.measure(row);
}

}  // namespace

int run_bench_memory(const GlobalOptions& global, const BenchMemoryOptions& o) {
  BenchRun run(global, o, 6);
  require_memory(2.0 * kBytes + (512 << 20));
  const Buffers data(run.ctx());
  ThreadPool one(1);
  Context single{Device{}, one, run.session().arena};
  for (Context* ctx : {&single, &run.ctx()}) {
    if (ctx == &run.ctx() && run.ctx().pool.size() == 1) break;
    measure_pass(run, *ctx, data, "read", read_pass, kBytes);
    measure_pass(run, *ctx, data, "write", write_pass, kBytes);
    measure_pass(run, *ctx, data, "copy", copy_pass, 2.0 * kBytes);
  }
  return run.finish();
}

}  // namespace fathom::app
