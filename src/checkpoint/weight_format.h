#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "checkpoint/safetensors_header.h"
#include "model/weights.h"

namespace fathom {

/// How a checkpoint stores its weights: all in one dtype, or the large matrices quantized. Norms
/// and what is not quantized are of `dtype`; correction biases are always F32.
struct WeightFormat {
  DType dtype = DType::kBF16;  ///< kBF16 or kF32
  std::optional<QuantizationConfig> quantization;

  WeightFormat() = default;
  /// kBF16 and kF32: nothing is quantized. kE4M3: as DeepSeek-V3 was published.
  WeightFormat(DType dtype_in);  // NOLINT: implicit
  /// compressed-tensors' pack-quantized: 4 or 8 bits; group 0: a scale a row.
  static WeightFormat integers(int64_t bits, int64_t group, bool symmetric);
  /// As config.json names it: what the values that are not quantized are in.
  const char* torch_dtype() const { return dtype == DType::kF32 ? "float32" : "bfloat16"; }
};

/// A parameter as its tensors hold it.
struct EncodedParameter {
  std::vector<Tensor> tensors;  ///< as tensors_of() lists them
  Parameter view;
};

/// Whether the published checkpoints quantize this parameter (spec B.1): the Linears of attention
/// and feed-forward networks. Embedding, head, gates, norms and eh_proj are not.
bool is_quantizable(const ParameterInfo& info);

/// fp8: "model.…q_proj.weight" gives "model.…q_proj.weight_scale_inv".
std::string fp8_scale_name(const std::string& weight_name);
/// [⌈out / 128⌉, ⌈in / 128⌉] (spec B.2).
std::vector<int64_t> fp8_scale_shape(const std::vector<int64_t>& weight_shape);

/// The tensors that hold a parameter which the file calls `name`, the largest first.
std::vector<TensorSpec> tensors_of(const WeightFormat& format, const ParameterInfo& info,
                                   const std::string& name);
/// In what dtype encode() takes the values of a parameter.
DType value_dtype(const WeightFormat& format, const ParameterInfo& info);
/// From values of value_dtype(). Values that are stored as they are, are moved into the result.
EncodedParameter encode(Context& ctx, const WeightFormat& format, const ParameterInfo& info,
                        Tensor& values);
/// Whether encode() rounds this parameter to scaled codes.
bool quantizes(const WeightFormat& format, const ParameterInfo& info);

/// A contiguous tensor of a parameter's shape: one or two dimensions.
Tensor make_tensor(DType dtype, const std::vector<int64_t>& shape);

}  // namespace fathom
