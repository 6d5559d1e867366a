#include "bench/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/log.h"
#include "base/numa.h"
#include "kernels/measure.h"

namespace fathom::app {
namespace {

using kernels::median;
using kernels::seconds_of;

constexpr int kRounds = 4;          // ours, baseline, peer, ours, …
constexpr double kShortest = 2e-4;  // seconds; shorter runs are timed several at once

std::string format_seconds(double s) {
  if (s < 1e-3) return fmt::format("{:.1f} us", s * 1e6);
  if (s < 1) return fmt::format("{:.3f} ms", s * 1e3);
  return fmt::format("{:.3f} s", s);
}

/// The rate of a case and its roof, in the unit that binds.
struct Share {
  bool by_flops;
  double rate, roof, share;
};

Share share_of(const Work& work, const Work& roof, double seconds) {
  const double flops_time = work.flops > 0 ? work.flops / roof.flops : 0;
  const double bytes_time = work.bytes > 0 ? work.bytes / roof.bytes : 0;
  const bool by_flops = flops_time >= bytes_time;
  return {by_flops, (by_flops ? work.flops : work.bytes) / seconds,
          by_flops ? roof.flops : roof.bytes, std::max(flops_time, bytes_time) / seconds};
}

std::string format_rate(double rate, bool flops) {
  return flops ? fmt::format("{:.3f} TFLOP/s", rate / 1e12)
               : fmt::format("{:.1f} GB/s", rate / 1e9);
}

void add_share(Report& row, const Share& s) {
  const double unit = s.by_flops ? 1e12 : 1e9;
  row.add(s.by_flops ? "tflops" : "gb_s", s.rate / unit);
  row.add("roof", s.roof / unit);
  row.add("share_of_roof", s.share);
}

std::string describe(const BenchCase& c, const Share& s, double seconds) {
  return fmt::format("{:<22} {:<42} {:>10}  {:>14}  of {:>14} {:6.1f}%", c.name, c.shape,
                     format_seconds(seconds), format_rate(s.rate, s.by_flops),
                     format_rate(s.roof, s.by_flops), 100 * s.share);
}

}  // namespace

struct BenchRun::Times {
  std::vector<double> ours, baseline, peer;
};

BenchRun::BenchRun(const GlobalOptions& global, const BenchOptions& options, size_t cases)
    : global_(global),
      options_(options),
      session_(global),
      interrupt_("\nstopping: what was measured follows; again to end at once\n") {
  if (!options.peer.empty()) peer_.emplace(options.peer, session_.pool.size());
  progress_.emplace("measuring", static_cast<double>(cases * kRounds), " rounds");
}

// Several runs are timed as one where a run is too short for the clock and the pool to settle.
void BenchRun::slice(const std::function<void(int64_t)>& run, double seconds,
                     std::vector<double>& times) {
  auto i = static_cast<int64_t>(times.size());
  double spent = 0;
  const auto timed = [&](int64_t runs) {
    const double total = seconds_of([&] {
      for (int64_t n = 0; n < runs; ++n) run(i++);
    });
    spent += total;
    return total / static_cast<double>(runs);
  };
  const double first = std::max(1e-9, timed(1));
  const auto inner = static_cast<int64_t>(std::clamp(kShortest / first, 1.0, 1e4));
  if (inner == 1) times.push_back(first);
  while (times.empty() || (spent < seconds && !stopped())) times.push_back(timed(inner));
}

BenchRun::Times BenchRun::time(const BenchCase& c, bool with_peer) {
  Times times;
  const double seconds = options_.seconds / kRounds;
  for (int round = 0; round < kRounds && (round == 0 || !stopped()); ++round) {
    slice(c.run, seconds, times.ours);
    if (c.baseline_run) slice(c.baseline_run, seconds, times.baseline);
    if (with_peer) {
      const std::vector<double> theirs = peer_->time(seconds);
      times.peer.insert(times.peer.end(), theirs.begin(), theirs.end());
    }
    progress_->update(static_cast<double>(done_ * kRounds + static_cast<size_t>(round) + 1),
                      c.name + " " + c.shape);
  }
  return times;
}

Work BenchRun::roof(const BenchCase& c) {
  Context& ctx = c.context ? *c.context : session_.ctx;
  Work roof;
  if (c.work.flops > 0) roof.flops = kernels::measure_peak_flops(ctx, c.work.precision);
  if (c.work.bytes > 0) {
    if (!bandwidth_) bandwidth_.emplace(session_.ctx);
    roof.bytes = bandwidth_->measure(ctx);
  }
  return roof;
}

bool BenchRun::prepare_peer(const BenchCase& c) {
  if (!peer_ || c.peer.empty()) return false;
  const std::string error = peer_->prepare(c.peer);
  if (!error.empty()) log_warning("the peer cannot do this", {{"case", c.name}, {"why", error}});
  return error.empty();
}

void BenchRun::measure(const BenchCase& c) {
  if (stopped()) return;
  const bool with_peer = prepare_peer(c);
  c.run(0);
  if (c.baseline_run) c.baseline_run(0);
  const Work before = roof(c);
  const Times times = time(c, with_peer);
  const Work after = roof(c);
  add_row(c, {(before.flops + after.flops) / 2, (before.bytes + after.bytes) / 2}, times);
}

void BenchRun::add_row(const BenchCase& c, const Work& roof, const Times& times) {
  const double seconds = median(times.ours);
  const Share share = share_of(c.work, roof, seconds);
  Report row;
  row.add("name", c.name);
  row.add("shape", c.shape);
  row.add("seconds", seconds);
  add_share(row, share);
  std::string line = describe(c, share, seconds);
  // What else did the same work: its time and how many times longer it took.
  const auto beside = [&](const std::string& key, const std::string& name, double other) {
    row.add(key, name);
    row.add(key + "_seconds", other);
    row.add(key + "_ratio", other / seconds);
    line += fmt::format("  {} {} ({:.2f}x)", name, format_seconds(other), other / seconds);
  };
  if (!times.baseline.empty()) beside("baseline", c.baseline, median(times.baseline));
  if (!times.peer.empty()) {
    beside("peer", peer_->name(), median(times.peer));
    peer_ratios_.push_back(median(times.peer) / seconds);
  }
  if (c.details) c.details(seconds, row);
  ++done_;
  rows_.push_back(std::move(row));
  if (!global_.json) print(c, seconds, line);
}

void BenchRun::print(const BenchCase& c, double seconds, const std::string& line) const {
  set_status_line({});
  if (done_ == 1)
    fmt::print("threads {}, instruction set {}; the roof is that of the moment\n",
               session_.pool.size(), name_of(session_.ctx.isa));
  fmt::print("{}\n", line);
  std::fflush(stdout);
  if (!c.details) return;
  Report details;
  c.details(seconds, details);
  details.print(false);
}

int BenchRun::finish() {
  progress_.reset();
  double log_sum = 0;
  for (const double ratio : peer_ratios_) log_sum += std::log(ratio);
  Report report;
  if (!peer_ratios_.empty()) {
    const double mean = std::exp(log_sum / static_cast<double>(peer_ratios_.size()));
    report.add("geometric_mean_peer_ratio", mean);
    if (!global_.json) fmt::print("geometric mean of the ratios to the peer: {:.2f}\n", mean);
  }
  report.add("threads", static_cast<int64_t>(session_.pool.size()));
  report.add("isa", name_of(session_.ctx.isa));
  report.add("cases", rows_);
  if (global_.json) report.print(true);
  return interrupt_.requested() ? 128 + interrupt_.signal_number() : 0;
}

int64_t sets_beyond_caches(double bytes_a_set) {
  const auto caches = static_cast<double>(std::max(last_level_cache_bytes(), int64_t{32} << 20));
  return static_cast<int64_t>(std::clamp(std::ceil(2 * caches / bytes_a_set), 2.0, 1024.0));
}

void require_memory(double bytes) {
  const auto there = static_cast<double>(available_memory());
  if (bytes < there) return;
  throw Error(fmt::format("this needs {:.1f} GiB of memory, of which {:.1f} are available",
                          bytes / (1 << 30), there / (1 << 30)),
              "ask for smaller shapes");
}

DType dtype_of(const std::string& name) {
  return name == "fp32" ? DType::kF32 : name == "e4m3" ? DType::kE4M3 : DType::kBF16;
}

kernels::GemmPrecision precision_of(const std::string& dtype) {
  return dtype == "fp32" ? kernels::GemmPrecision::kF32 : kernels::GemmPrecision::kBF16;
}

}  // namespace fathom::app
