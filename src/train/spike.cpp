#include "train/spike.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace fathom::train {

std::optional<std::string> SpikeDetector::observe(int64_t step, double loss, double grad_norm) {
  if (!std::isfinite(loss)) return fmt::format("the loss is {} at step {}", loss, step);
  if (!std::isfinite(grad_norm))
    return fmt::format("the gradient norm is {} at step {} (loss {:.4f})", grad_norm, step, loss);
  if (!is_spike(loss)) {
    state_.in_a_row = 0;
    learn(loss);
    return std::nullopt;
  }
  if (++state_.in_a_row < limits_.steps) return std::nullopt;
  return fmt::format("the loss is {:.4f} at step {}, above {:g} x its average {:.4f} for {} steps",
                     loss, step, limits_.factor, state_.mean, state_.in_a_row);
}

bool SpikeDetector::is_spike(double loss) const {
  if (limits_.steps == 0 || state_.seen < limits_.history) return false;
  return loss > limits_.factor * state_.mean &&
         loss > state_.mean + limits_.sigmas * std::sqrt(state_.variance);
}

void SpikeDetector::learn(double loss) {
  // Plain mean and variance at first, exponential ones once enough steps were seen.
  ++state_.seen;
  const double share = std::max(1 - limits_.averaging, 1 / static_cast<double>(state_.seen));
  const double delta = loss - state_.mean;
  state_.mean += share * delta;
  state_.variance = (1 - share) * (state_.variance + share * delta * delta);
}

}  // namespace fathom::train
