#include "cluster/net/flow_simulator.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace fathom::net {
namespace {

/// Bytes that rounding may leave of a flow that has ended.
constexpr double kRoundingShare = 1e-9;

class Run {
 public:
  Run(const FlowTable& table, const std::vector<FlowDemand>& demands, const StepOptions& options)
      : table_(table),
        demands_(demands),
        options_(options),
        solver_(table),
        active_(demands.size()),
        rates_(demands.size()),
        left_(demands.size()) {
    FATHOM_ASSERT(static_cast<size_t>(table.flows()) == demands.size());
    outcome_.end.resize(demands.size());
    outcome_.resource_bytes.resize(table.capacity.size());
    for (size_t f = 0; f < demands.size(); ++f) by_start_.push_back(f);
    std::stable_sort(by_start_.begin(), by_start_.end(),
                     [&](size_t a, size_t b) { return demands_[a].start < demands_[b].start; });
    for (const FlowDemand& d : demands) total_ += d.bytes;
  }

  FlowOutcome run() {
    for (;;) {
      start_due();
      if (running_ == 0 && next_ == by_start_.size()) break;
      if (running_ == 0) {
        now_ = demands_[by_start_[next_]].start;
        continue;
      }
      solver_.solve(active_, rates_);
      ++outcome_.steps;
      advance(next_event());
      if (options_.progress) options_.progress(total_ > 0 ? moved_ / total_ : 1);
    }
    count_bytes();
    return std::move(outcome_);
  }

 private:
  void start_due() {
    for (; next_ < by_start_.size() && demands_[by_start_[next_]].start <= now_; ++next_) {
      const size_t f = by_start_[next_];
      left_[f] = demands_[f].bytes;
      if (left_[f] > 0) {
        active_[f] = 1;
        ++running_;
      } else {
        finish(f, 0);
      }
    }
  }

  Picoseconds time_to_end(size_t f) const {
    return std::isinf(rates_[f])
               ? 0
               : static_cast<Picoseconds>(std::ceil(left_[f] / rates_[f] * kPicosecondsPerSecond));
  }

  Picoseconds next_event() const {
    Picoseconds step = std::numeric_limits<Picoseconds>::max();
    for (size_t f = 0; f < left_.size(); ++f)
      if (active_[f]) step = std::min(step, time_to_end(f));
    step = std::max(step, options_.resolution);
    if (next_ < by_start_.size()) step = std::min(step, demands_[by_start_[next_]].start - now_);
    return step;
  }

  void finish(size_t f, Picoseconds after) { outcome_.end[f] = now_ + after + demands_[f].latency; }

  void advance(Picoseconds step) {
    const double seconds = static_cast<double>(step) / kPicosecondsPerSecond;
    for (size_t f = 0; f < left_.size(); ++f) {
      if (!active_[f]) continue;
      const double bytes = std::isinf(rates_[f]) ? left_[f] : rates_[f] * seconds;
      if (left_[f] - bytes > kRoundingShare * demands_[f].bytes) {
        left_[f] -= bytes;
        moved_ += bytes;
        continue;
      }
      moved_ += left_[f];
      finish(f, std::min(step, time_to_end(f)));
      active_[f] = 0;
      --running_;
    }
    now_ += step;
  }

  void count_bytes() {
    for (int64_t f = 0; f < table_.flows(); ++f)
      for (const Use& u : table_.uses_of(f))
        outcome_.resource_bytes[static_cast<size_t>(u.resource)] +=
            u.weight * demands_[static_cast<size_t>(f)].bytes;
  }

  const FlowTable& table_;
  const std::vector<FlowDemand>& demands_;
  const StepOptions& options_;
  MaxMin solver_;
  std::vector<uint8_t> active_;
  std::vector<double> rates_, left_;
  std::vector<size_t> by_start_;
  size_t next_ = 0, running_ = 0;
  Picoseconds now_ = 0;
  double total_ = 0, moved_ = 0;
  FlowOutcome outcome_;
};

}  // namespace

FlowOutcome run_flows(const FlowTable& table, const std::vector<FlowDemand>& demands,
                      const StepOptions& options) {
  return Run(table, demands, options).run();
}

}  // namespace fathom::net
