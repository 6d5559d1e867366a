#include "kernels/cpu/roof.h"

#include <algorithm>
#include <chrono>
#include <vector>

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

constexpr int64_t kBytes = int64_t{512} << 20;
constexpr int64_t kLine = 64;

/// Reads [p, p + bytes) as several streams side by side, a word of each line: the whole line comes
/// from memory. `ahead` counts the lines from a read to its prefetch, 0 for none.
template <int kStreams>
uint64_t read_streams(const std::byte* p, int64_t bytes, int64_t ahead) {
  const int64_t stream_bytes = bytes / kStreams / kLine * kLine;
  uint64_t sum[kStreams] = {};
  for (int64_t i = 0; i < stream_bytes; i += kLine)
    for (int s = 0; s < kStreams; ++s) {
      const std::byte* line = p + s * stream_bytes + i;
      if (ahead > 0) __builtin_prefetch(line + ahead * kLine);
      uint64_t word;
      __builtin_memcpy(&word, line, sizeof word);
      sum[s] += word;
    }
  uint64_t total = 0;
  for (const uint64_t word : sum) total += word;
  return total;
}

struct ReadPattern {
  uint64_t (*read)(const std::byte* p, int64_t bytes, int64_t ahead);
  int64_t ahead;
};
// On Zen 5 wider loads than a word and more streams were no faster.
constexpr ReadPattern kPatterns[] = {
    {read_streams<1>, 0}, {read_streams<2>, 16}, {read_streams<4>, 0}, {read_streams<4>, 16}};

/// Random words throughout: equal pages could be shared, or zero ones never be read.
void fill_random(Context& ctx, uint64_t* words, int64_t count) {
  ctx.pool.for_range(count, 8, [&](int64_t begin, int64_t end, int) {
    auto word = static_cast<uint64_t>(begin);
    for (int64_t i = begin; i < end; ++i)
      words[i] = word = word * 6364136223846793005u + 1442695040888963407u;
  });
}

// Chunks short enough that most pass between two preemptions.
constexpr int64_t kChunk = int64_t{64} << 20;

/// The upper quartile of the rates of all chunks, each read twice, far apart in time: a rate that
/// memory keeps up, whoever else had the processors at times.
double read_rate(Context& ctx, const std::byte* bytes, const ReadPattern& pattern) {
  std::vector<uint64_t> sums(static_cast<size_t>(ctx.pool.size()));
  std::vector<double> rates;
  for (int64_t at = 0; at < 2 * kBytes; at += kChunk) {
    const std::byte* chunk = bytes + at % kBytes;
    const auto start = Clock::now();
    ctx.pool.for_range(kChunk, 64 * kLine, [&](int64_t begin, int64_t end, int t) {
      sums[static_cast<size_t>(t)] += pattern.read(chunk + begin, end - begin, pattern.ahead);
    });
    rates.push_back(static_cast<double>(kChunk) / seconds_since(start));
  }
  volatile uint64_t sink = sums[0];
  static_cast<void>(sink);
  const auto quartile = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() * 3 / 4);
  std::nth_element(rates.begin(), quartile, rates.end());
  return *quartile;
}

}  // namespace

double measure_peak_flops(Context& ctx, GemmPrecision precision) {
  const cpu::GemmKernels& kernels = cpu::gemm_kernels(ctx.isa, precision);
  constexpr double kBurstSeconds = 1e-3;
  constexpr int kBursts = 40;
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

ReadBandwidth::ReadBandwidth(Context& ctx) : buffer_(DType::kI64, {kBytes / 8}) {
  fill_random(ctx, static_cast<uint64_t*>(buffer_.view().data), kBytes / 8);
}

double ReadBandwidth::measure(Context& ctx) const {
  const auto* bytes = static_cast<const std::byte*>(buffer_.view().data);
  double best = 0;
  for (const ReadPattern& pattern : kPatterns)
    best = std::max(best, read_rate(ctx, bytes, pattern));
  return best;
}

double measure_read_bandwidth(Context& ctx) {
  return ReadBandwidth(ctx).measure(ctx);
}

}  // namespace fathom::kernels
