#include "model/fp8_recipe.h"

namespace fathom {

kernels::Rounding Fp8Recipe::rounding(OperandRole role) const {
  switch (role) {
    case OperandRole::kInput:
      return {kernels::Float8::kE4M3, input_tile, scale};
    case OperandRole::kGradient:
      return {gradient_format, gradient_tile, scale};
    case OperandRole::kInputForWeight:
      return {kernels::Float8::kE4M3, input_for_weight_tile, scale};
    case OperandRole::kGradientForWeight:
      return {gradient_format, gradient_for_weight_tile, scale};
  }
  return {};
}

bool Fp8Recipe::covers(std::string_view parameter) const {
  if (parameter.find("_proj") == std::string_view::npos || !parameter.ends_with(".weight"))
    return false;
  const std::string dotted = "." + std::string(parameter);
  for (const std::string& module : bf16_modules)
    if (dotted.find("." + module + ".") != std::string::npos) return false;
  return true;
}

}  // namespace fathom
