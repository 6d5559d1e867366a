#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/emulated_gemm.h"
#include "kernels/quantize.h"

namespace fathom {

/// What a matrix is to a Linear y = x·Wᵀ. Its three products contract over different dimensions,
/// and tiles lie along the contracted one.
enum class OperandRole : uint8_t {
  kInput,              ///< x in y = x·Wᵀ
  kGradient,           ///< dy in dx = dy·W
  kInputForWeight,     ///< x in dW = dyᵀ·x
  kGradientForWeight,  ///< dy in dW = dyᵀ·x
};

/// Whether a module, named by a part of parameter names between dots, has that parameter.
bool is_part_of(const std::string& module, std::string_view parameter);

/// The FP8 mixed-precision recipe (spec C; report section 3.3) with its choices, which default to
/// the paper's. Weights are E4M3, quantized once a step from FP32 master weights.
struct Fp8Recipe {
  /// Of all scales but those of the input of o_proj and of what experts receive, forward and
  /// backward: these are powers of two always.
  kernels::ScaleFormat scale = kernels::ScaleFormat::kF32;
  kernels::ScaleTile weight_tile = kernels::kBlock128x128;
  kernels::ScaleTile input_tile = kernels::kTile1x128;
  kernels::ScaleTile gradient_tile = kernels::kTile1x128;
  kernels::ScaleTile input_for_weight_tile = kernels::kTile128x1;
  kernels::ScaleTile gradient_for_weight_tile = kernels::kTile128x1;
  kernels::Float8 gradient_format = kernels::Float8::kE4M3;
  /// Products as a tensor core accumulates them; empty: in FP32.
  std::optional<kernels::TensorCoreAccumulator> accumulator;
  /// Modules that stay BF16 (is_part_of), such as "o_proj" or "layers.0".
  /// Published checkpoints keep eh_proj in BF16, which a model without MTP modules lacks.
  static constexpr std::string_view kMtpProjection = "eh_proj";
  std::vector<std::string> bf16_modules = {std::string(kMtpProjection)};

  std::array<kernels::ScaleTile, 5> tiles() const {
    return {weight_tile, input_tile, gradient_tile, input_for_weight_tile,
            gradient_for_weight_tile};
  }
  kernels::Rounding rounding(OperandRole role) const;
  /// Whether a parameter is the weight of a Linear that multiplies in FP8. Embedding, output head,
  /// gate and norms never are.
  bool covers(std::string_view parameter) const;
  static bool is_linear(std::string_view parameter);
};

}  // namespace fathom
