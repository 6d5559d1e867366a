#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace fathom::train {

/// When a loss counts as a spike, and how long one may last.
struct SpikeLimits {
  double factor = 1.5;      ///< above factor x moving average, and
  double sigmas = 6;        ///< above the average by this many standard deviations
  int64_t steps = 5;        ///< this many steps in a row stop the run; 0: spikes never do
  int64_t history = 20;     ///< steps of average needed before anything counts as a spike
  double averaging = 0.95;  ///< weight of the past in the moving average and variance
};

/// Watches loss and gradient norm and says when training must stop: at once on NaN or infinity,
/// after several steps in a row on a loss spike. Spiking losses do not enter the average.
class SpikeDetector {
 public:
  /// What must be kept to go on after a resume exactly as if never stopped.
  struct State {
    double mean = 0, variance = 0;
    int64_t seen = 0, in_a_row = 0;
    bool operator==(const State&) const = default;
  };

  explicit SpikeDetector(const SpikeLimits& limits) : limits_(limits) {}

  /// The reason to stop, or nothing. After a reason the weights must not be saved.
  std::optional<std::string> observe(int64_t step, double loss, double grad_norm);

  const State& state() const { return state_; }
  void restore(const State& state) { state_ = state; }

 private:
  bool is_spike(double loss) const;
  void learn(double loss);

  SpikeLimits limits_;
  State state_;
};

}  // namespace fathom::train
