#include "checkpoint/weight_format.h"

#include "checkpoint/packed_int.h"
#include "kernels/quantize.h"

namespace fathom {
namespace {

using kernels::kBlock128x128;

PackedIntLayout int_layout(const QuantizationConfig& q, const ParameterInfo& info) {
  return {info.shape[0], info.shape[1], q.bits, q.group_size, q.symmetric};
}

std::vector<TensorSpec> quantized_tensors(const WeightFormat& format, const ParameterInfo& info,
                                          const std::string& name) {
  if (!format.quantization->is_fp8())
    return int_layout(*format.quantization, info).tensors(name, format.dtype);
  return {{name, DType::kE4M3, info.shape},
          {fp8_scale_name(name), DType::kF32, fp8_scale_shape(info.shape)}};
}

void encode_fp8(Context& ctx, const QuantizationConfig& q, const Tensor& values,
                EncodedParameter& out) {
  const bool powers = q.scale_fmt == "ue8m0";
  const kernels::QuantizedView view(out.tensors[0], out.tensors[1], kBlock128x128);
  kernels::quantize(ctx, values, view,
                    powers ? kernels::ScaleFormat::kPowerOfTwo : kernels::ScaleFormat::kF32);
  out.view.quantized = view;
}

void encode_int(Context& ctx, const PackedIntLayout& layout, const Tensor& values,
                EncodedParameter& out) {
  const TensorView zero = layout.symmetric ? TensorView() : out.tensors[2].view();
  const auto matrix = layout.over(out.tensors[0], out.tensors[1], zero);
  kernels::quantize_grouped_int(ctx, values, matrix);
  auto* shape = out.tensors.back().as<int64_t>();
  shape[0] = layout.rows;
  shape[1] = layout.cols;
  out.view.quantized = matrix.input(layout.cols);
}

}  // namespace

WeightFormat::WeightFormat(DType dtype_in)
    : dtype(dtype_in == DType::kF32 ? DType::kF32 : DType::kBF16) {
  FATHOM_ASSERT(dtype_in == DType::kF32 || dtype_in == DType::kBF16 || dtype_in == DType::kE4M3);
  if (dtype_in == DType::kE4M3) quantization.emplace();
}

WeightFormat WeightFormat::integers(int64_t bits, int64_t group, bool symmetric) {
  FATHOM_ASSERT(bits == 4 || bits == 8);
  WeightFormat format;
  QuantizationConfig& q = format.quantization.emplace();
  q.quant_method = "compressed-tensors";
  q.format = "pack-quantized";
  q.bits = bits;
  q.group_size = group;
  q.symmetric = symmetric;
  return format;
}

bool is_quantizable(const ParameterInfo& info) {
  if (info.kind != ParameterKind::kMatrix || info.name.ends_with(".mlp.gate.weight")) return false;
  return info.name.find(".self_attn.") != std::string::npos ||
         info.name.find(".mlp.") != std::string::npos;
}

bool quantizes(const WeightFormat& format, const ParameterInfo& info) {
  return format.quantization && is_quantizable(info);
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
  if (quantizes(format, info)) return quantized_tensors(format, info, name);
  return {{name, value_dtype(format, info), info.shape}};
}

DType value_dtype(const WeightFormat& format, const ParameterInfo& info) {
  const bool wide = info.kind == ParameterKind::kCorrectionBias || quantizes(format, info);
  return wide ? DType::kF32 : format.dtype;
}

EncodedParameter encode(Context& ctx, const WeightFormat& format, const ParameterInfo& info,
                        Tensor& values) {
  FATHOM_ASSERT(values.view().dtype == value_dtype(format, info));
  EncodedParameter out;
  if (!quantizes(format, info)) {
    out.view.weight = values;
    out.tensors.push_back(std::move(values));
    return out;
  }
  for (const TensorSpec& spec : tensors_of(format, info, info.name))
    out.tensors.push_back(make_tensor(spec.dtype, spec.shape));
  const QuantizationConfig& q = *format.quantization;
  if (q.is_fp8())
    encode_fp8(ctx, q, values, out);
  else
    encode_int(ctx, int_layout(q, info), values, out);
  return out;
}

Tensor make_tensor(DType dtype, const std::vector<int64_t>& shape) {
  return shape.size() == 1 ? Tensor(dtype, {shape[0]}) : Tensor(dtype, {shape[0], shape[1]});
}

}  // namespace fathom
