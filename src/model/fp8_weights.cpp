#include "model/fp8_weights.h"

#include <fmt/format.h>

#include <map>
#include <set>

namespace fathom {
namespace {

void check_widths(const ModelConfig& c) {
  // SwiGLU reads gate and up from tiles of one row: a vector must not reach over two tiles.
  constexpr int64_t kUnit = 16;
  for (const auto& [name, width] : {std::pair{"intermediate_size", c.intermediate_size},
                                    std::pair{"moe_intermediate_size", c.moe_intermediate_size}})
    if (width % kUnit != 0)
      throw Error(fmt::format("{} = {} is not a multiple of {}", name, width, kUnit),
                  "FP8 keeps the inputs of SwiGLU in tiles; choose another width, or bf16");
}

/// Linears that one product multiplies with have one name here: gate_proj and up_proj, and those of
/// all experts of a layer.
std::string product_of(const std::string& parameter) {
  std::string name = without_expert_number(parameter);
  if (const size_t at = name.find("up_proj"); at != std::string::npos)
    name.replace(at, std::string_view("up_proj").size(), "gate_proj");
  return name;
}

void check_modules(const ModelConfig& config, ModelWeights& weights, const Fp8Recipe& recipe) {
  std::set<std::string> missing(recipe.bf16_modules.begin(), recipe.bf16_modules.end());
  missing.erase(std::string(Fp8Recipe::kMtpProjection));
  std::map<std::string, bool> covered;  // by product
  for_each_parameter(config, weights, [&](const ParameterInfo& info, Parameter&) {
    if (!Fp8Recipe::is_linear(info.name)) return;
    std::erase_if(missing, [&](const std::string& m) { return is_part_of(m, info.name); });
    const bool is_covered = recipe.covers(info.name);
    if (covered.emplace(product_of(info.name), is_covered).first->second != is_covered)
      throw Error(
          fmt::format("fp8.bf16_modules parts {} from what it is multiplied with", info.name),
          "name gate_proj and up_proj together, and all experts of a layer");
  });
  if (!missing.empty())
    throw Error(
        fmt::format("fp8.bf16_modules: no Linear of this model is in '{}'", *missing.begin()),
        "give parts of parameter names between dots, such as o_proj or layers.0");
}

void check_format(const std::string& name, const Parameter& p) {
  if (p.quantized.values && !p.is_fp8())
    throw Error(fmt::format("{} is stored as {}, which FP8 products do not take", name,
                            name_of(p.quantized.values.dtype)),
                "leave the precision at bf16, which multiplies with such weights as they are");
}

}  // namespace

Fp8Weights::Fp8Weights(const ModelConfig& config, ModelWeights& weights, const Fp8Recipe& recipe)
    : recipe_(recipe) {
  check_widths(config);
  check_modules(config, weights, recipe);
  const bool per_tensor = recipe.weight_tile == kernels::kPerTensor;
  for_each_parameter(config, weights, [&](const ParameterInfo& info, Parameter& p) {
    if (!recipe_.covers(info.name)) return;
    check_format(info.name, p);
    if (!p.weight) return;
    const int64_t rows = p.weight.rows(), cols = p.weight.cols();
    Copy copy{p.weight, Tensor(per_tensor ? DType::kBF16 : DType::kE4M3, {rows, cols}), {}};
    if (per_tensor) {
      p.quantized = copy.codes;
    } else {
      const kernels::ScaleTile tile = recipe_.weight_tile;
      copy.scale =
          Tensor(DType::kF32, {kernels::scale_rows(rows, tile), kernels::scale_cols(cols, tile)});
      p.quantized = kernels::ConstQuantizedView(copy.codes, copy.scale, tile);
    }
    copies_.push_back(std::move(copy));
  });
}

void Fp8Weights::refresh(Context& ctx) {
  for (const Copy& c : copies_) {
    if (c.scale)
      kernels::quantize(ctx, c.weight, {c.codes, c.scale, recipe_.weight_tile}, recipe_.scale);
    else
      kernels::round_to_fp8(ctx, c.weight,
                            {kernels::Float8::kE4M3, recipe_.weight_tile, recipe_.scale}, c.codes);
  }
}

size_t Fp8Weights::bytes() const {
  size_t total = 0;
  for (const Copy& c : copies_)
    total += c.codes.view().bytes() + (c.scale ? c.scale.view().bytes() : 0);
  return total;
}

}  // namespace fathom
