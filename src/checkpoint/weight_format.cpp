#include "checkpoint/weight_format.h"

#include "kernels/quantize.h"

namespace fathom {
namespace {

using kernels::kBlock128x128;

bool quantizes(const WeightFormat& format, const ParameterInfo& info) {
  return format.quantization && is_quantizable(info);
}

}  // namespace

WeightFormat::WeightFormat(DType dtype_in)
    : dtype(dtype_in == DType::kF32 ? DType::kF32 : DType::kBF16) {
  FATHOM_ASSERT(dtype_in == DType::kF32 || dtype_in == DType::kBF16 || dtype_in == DType::kE4M3);
  if (dtype_in == DType::kE4M3) quantization.emplace();
}

bool is_quantizable(const ParameterInfo& info) {
  if (info.kind != ParameterKind::kMatrix || info.name.ends_with(".mlp.gate.weight")) return false;
  return info.name.find(".self_attn.") != std::string::npos ||
         info.name.find(".mlp.") != std::string::npos;
}

std::string fp8_scale_name(const std::string& weight_name) {
  return weight_name + "_scale_inv";
}

std::vector<int64_t> fp8_scale_shape(const std::vector<int64_t>& shape) {
  return {kernels::scale_rows(shape[0], kBlock128x128),
          kernels::scale_cols(shape[1], kBlock128x128)};
}

std::vector<TensorSpec> tensors_of(const WeightFormat& format, const ParameterInfo& info,
                                   const std::string& name) {
  if (!quantizes(format, info)) return {{name, value_dtype(format, info), info.shape}};
  return {{name, DType::kE4M3, info.shape},
          {fp8_scale_name(name), DType::kF32, fp8_scale_shape(info.shape)}};
}

DType value_dtype(const WeightFormat& format, const ParameterInfo& info) {
  const bool wide = info.kind == ParameterKind::kCorrectionBias || quantizes(format, info);
  return wide ? DType::kF32 : format.dtype;
}

std::vector<Tensor> encode(Context& ctx, const WeightFormat& format, const ParameterInfo& info,
                           Tensor values) {
  FATHOM_ASSERT(values.view().dtype == value_dtype(format, info));
  std::vector<Tensor> parts;
  if (!quantizes(format, info)) {
    parts.push_back(std::move(values));
    return parts;
  }
  for (const TensorSpec& spec : tensors_of(format, info, info.name))
    parts.push_back(make_tensor(spec.dtype, spec.shape));
  const bool powers = format.quantization->scale_fmt == "ue8m0";
  kernels::quantize(ctx, values, {parts[0].view(), parts[1].view(), kBlock128x128},
                    powers ? kernels::ScaleFormat::kPowerOfTwo : kernels::ScaleFormat::kF32);
  return parts;
}

Tensor make_tensor(DType dtype, const std::vector<int64_t>& shape) {
  return shape.size() == 1 ? Tensor(dtype, {shape[0]}) : Tensor(dtype, {shape[0], shape[1]});
}

}  // namespace fathom
