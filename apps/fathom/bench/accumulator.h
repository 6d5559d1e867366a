#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fathom::app {

/// How far results are from exact ones.
struct AccumulatorError {
  double max = 0, rms = 0;  ///< over the root mean square of the exact results
  /// The greatest and the median of |error| / |exact result|. Of results that may be zero the
  /// greatest says nothing: it grows with their number.
  double max_relative = 0, median_relative = 0;
  double bias = 0;  ///< Σ(|result| − |exact|) / Σ|exact|: truncation makes it negative
};

/// One product: which inputs, how it was summed, and the errors.
struct AccumulatorCase {
  std::string inputs;
  bool fp32 = false;                   ///< summed in FP32, not by the emulated unit
  int64_t interval = 0;                ///< N_C; 0: never promoted
  AccumulatorError error;              ///< of the sum alone: against the product of the FP8 values
  AccumulatorError with_quantization;  ///< against the product of the inputs before rounding to FP8
  double seconds = 0;
};

/// Greatest errors over the interval, a line for each kind of inputs, as SVG; both axes
/// logarithmic. `depth`: K, where the line ends without promotion.
std::string draw_accumulator(const std::vector<AccumulatorCase>& cases, int64_t depth);

}  // namespace fathom::app
