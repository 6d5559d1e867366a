#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/progress.h"
#include "bench/bench.h"
#include "bench/peer.h"
#include "kernels/cpu/roof.h"
#include "report.h"
#include "session.h"

namespace fathom::app {

/// What one run of a case must do: its time is at least that of the FLOPs at the peak of the
/// precision's unit, and of the bytes at the read bandwidth. The larger of the two is the roof.
/// Bytes count only where they come from memory, not from a cache.
struct Work {
  double flops = 0, bytes = 0;
  kernels::GemmPrecision precision = kernels::GemmPrecision::kBF16;
};

/// One row of the report.
struct BenchCase {
  std::string name, shape;
  Work work;
  /// The i-th run. Cases that read memory use several buffers in turn.
  std::function<void(int64_t i)> run;
  std::string peer;      ///< request for peer_torch.py; empty: it has no peer
  std::string baseline;  ///< another way of ours, timed in turn, and its name
  std::function<void(int64_t i)> baseline_run;
  /// Adds what else the time of a run says.
  std::function<void(double seconds, Report&)> details;
  Context* context = nullptr;  ///< threads that the roof is measured on; null: the session's
};

/// A `fathom bench` command: measures cases one by one, prints each as it is done (text) or all at
/// the end (JSON). SIGINT ends the measuring; what is there is printed.
class BenchRun {
 public:
  BenchRun(const GlobalOptions& global, const BenchOptions& options, size_t cases);

  Session& session() { return session_; }
  Context& ctx() { return session_.ctx; }
  /// True once the user asked for an end: make no more cases.
  bool stopped() const { return interrupt_.requested(); }
  /// True until a case was measured.
  bool is_first() const { return done_ == 0; }
  /// Warm-up, the roof, runs in turn with those of baseline and peer, the roof again.
  void measure(const BenchCase& c);
  /// Prints what remains to be printed; the exit status.
  int finish();

 private:
  struct Times;
  Times time(const BenchCase& c, bool with_peer);
  void slice(const std::function<void(int64_t)>& run, double seconds, std::vector<double>& times);
  Work roof(const BenchCase& c);
  bool prepare_peer(const BenchCase& c);
  void add_row(const BenchCase& c, const Work& roof, const Times& times);
  void print(const BenchCase& c, double seconds, const std::string& line) const;

  GlobalOptions global_;
  BenchOptions options_;
  Session session_;
  std::optional<Peer> peer_;
  std::optional<kernels::ReadBandwidth> bandwidth_;
  InterruptGuard interrupt_;
  std::optional<Progress> progress_;
  size_t done_ = 0;
  std::vector<Report> rows_;
  std::vector<double> peer_ratios_;
};

/// How many sets of data of this size to use in turn, so that each comes from memory again: twice
/// the caches in all, at least two and at most 1024 sets.
int64_t sets_beyond_caches(double bytes_a_set);
/// Throws Error when so much memory is not there.
void require_memory(double bytes);
DType dtype_of(const std::string& name);  ///< bf16, fp32, e4m3
/// What the kernels multiply inputs of that type in.
kernels::GemmPrecision precision_of(const std::string& dtype);

}  // namespace fathom::app
