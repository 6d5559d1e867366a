#include "kernels/cpu/roof.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/philox.h"
#include "kernels/cpu/gemm_table.h"

namespace fathom::kernels {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// FLOP/s of one burst on every thread.
double burst_rate(Context& ctx, const cpu::GemmKernels& kernels, int64_t repetitions) {
  std::vector<double> flops(static_cast<size_t>(ctx.pool.size()));
  const auto start = Clock::now();
  ctx.pool.run([&](int t) { flops[static_cast<size_t>(t)] = kernels.burst(repetitions); });
  const double seconds = seconds_since(start);
  double total = 0;
  for (double f : flops) total += f;
  return total / seconds;
}

constexpr int64_t kStreams = 4;
constexpr int64_t kBytes = int64_t{512} << 20;
constexpr int64_t kLine = 64;
constexpr int64_t kPrefetchAhead = 16 * kLine;

/// Reads [p, p + bytes) as four streams side by side, a word of each line: the whole line
/// comes from memory.
uint64_t read_streams(const std::byte* p, int64_t bytes) {
  const int64_t stream_bytes = bytes / kStreams / kLine * kLine;
  uint64_t sum[kStreams] = {};
  for (int64_t i = 0; i < stream_bytes; i += kLine)
    for (int64_t s = 0; s < kStreams; ++s) {
      const std::byte* line = p + s * stream_bytes + i;
      __builtin_prefetch(line + kPrefetchAhead);
      uint64_t word;
      __builtin_memcpy(&word, line, sizeof word);
      sum[s] += word;
    }
  return sum[0] ^ sum[1] ^ sum[2] ^ sum[3];
}

/// Random bytes in every page: equal pages could be shared, or zero ones never be read.
void fill_random(Context& ctx, uint32_t* words, int64_t count) {
  const Philox rng(1);
  ctx.pool.for_range(count / 4, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const auto r = rng.block(static_cast<uint64_t>(i));
      std::copy(r.begin(), r.end(), words + 4 * i);
    }
  });
}

}  // namespace

double measure_peak_flops(Context& ctx, GemmPrecision precision) {
  const cpu::GemmKernels& kernels = cpu::gemm_kernels(ctx.isa, precision);
  constexpr double kBurstSeconds = 5e-3;
  constexpr int kBursts = 9;
  // The shortest of three counts: one that was preempted would end the search too early.
  const auto shortest = [&](int64_t repetitions) {
    double seconds = 1e9;
    for (int i = 0; i < 3; ++i) {
      const auto start = Clock::now();
      burst_rate(ctx, kernels, repetitions);
      seconds = std::min(seconds, seconds_since(start));
    }
    return seconds;
  };
  int64_t repetitions = 64;
  while (shortest(repetitions) < kBurstSeconds / 2) repetitions *= 2;
  double best = 0;
  for (int i = 0; i < kBursts; ++i) best = std::max(best, burst_rate(ctx, kernels, repetitions));
  return best;
}

double measure_read_bandwidth(Context& ctx) {
  const Tensor buffer(DType::kU8, {kBytes});
  const auto* bytes = static_cast<const std::byte*>(buffer.view().data);
  fill_random(ctx, static_cast<uint32_t*>(buffer.view().data), kBytes / 4);
  std::vector<uint64_t> sums(static_cast<size_t>(ctx.pool.size()));
  double best = 0;
  for (int pass = 0; pass < 4; ++pass) {
    const auto start = Clock::now();
    ctx.pool.for_range(kBytes, kStreams * kLine, [&](int64_t begin, int64_t end, int t) {
      sums[static_cast<size_t>(t)] += read_streams(bytes + begin, end - begin);
    });
    best = std::max(best, static_cast<double>(kBytes) / seconds_since(start));
  }
  volatile uint64_t sink = sums[0];
  static_cast<void>(sink);
  return best;
}

}  // namespace fathom::kernels
