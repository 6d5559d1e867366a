#include "model/fp8_weights.h"

#include <fmt/format.h>

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

}  // namespace

Fp8Weights::Fp8Weights(const ModelConfig& config, ModelWeights& weights, const Fp8Recipe& recipe)
    : recipe_(recipe) {
  check_widths(config);
  const bool per_tensor = recipe.weight_tile == kernels::kPerTensor;
  for_each_parameter(config, weights, [&](const ParameterInfo& info, Parameter& p) {
    if (!p.weight || !recipe_.covers(info.name)) return;
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
