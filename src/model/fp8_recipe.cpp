#include "model/fp8_recipe.h"

#include <algorithm>

namespace fathom {

bool is_part_of(const std::string& module, std::string_view parameter) {
  const std::string dotted = "." + std::string(parameter);
  return dotted.find("." + module + ".") != std::string::npos;
}

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

bool Fp8Recipe::is_linear(std::string_view parameter) {
  return parameter.find("_proj") != std::string_view::npos && parameter.ends_with(".weight");
}

bool Fp8Recipe::covers(std::string_view parameter) const {
  return is_linear(parameter) &&
         std::none_of(bf16_modules.begin(), bf16_modules.end(),
                      [&](const std::string& module) { return is_part_of(module, parameter); });
}

}  // namespace fathom
