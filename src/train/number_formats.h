#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/context.h"

namespace fathom::train {

/// In what format the output of a residual branch can be sent to where it is added: tiles or groups
/// of 1x128 for all but BF16. The FP8 formats have FP32 scales, amax / largest code.
enum class NumberFormat : uint8_t { kBF16, kE4M3, kE5M2, kLogFmt8, kLogFmt10 };
inline constexpr std::array kNumberFormats = {NumberFormat::kBF16, NumberFormat::kE4M3,
                                              NumberFormat::kE5M2, NumberFormat::kLogFmt8,
                                              NumberFormat::kLogFmt10};

std::string_view name_of(NumberFormat format);  ///< "e4m3", "logfmt8"
/// Scales and group limits included.
double bits_per_value(NumberFormat format);

/// x_TC becomes what arrives. F32 or BF16, finite; LogFMT takes F32 values rounded to BF16.
void round_trip(Context& ctx, NumberFormat format, TensorView x_TC);

/// What a format did to values, summed over as many matrices as wanted.
struct FormatNoise {
  double signal = 0, noise = 0;     ///< Σ x², Σ (x̂ − x)²
  double before = 0, after = 0;     ///< Σ |x|, Σ |x̂|
  int64_t nonzero = 0, zeroed = 0;  ///< values that were not zero; of them those that became zero

  /// Both [T, C], F32 or BF16.
  void add(ConstTensorView original_TC, ConstTensorView sent_TC);
  /// 10·log10(signal / noise); infinity where nothing was lost.
  double signal_to_noise_db() const;
  double underflow() const {
    return nonzero ? static_cast<double>(zeroed) / static_cast<double>(nonzero) : 0;
  }
  /// How much larger magnitudes have become on average, relatively.
  double bias() const { return before > 0 ? after / before - 1 : 0; }
};

}  // namespace fathom::train
