#pragma once

#include "base/tensor.h"
#include "kernels/quantized.h"

namespace fathom {

/// A weight and, while training, its gradient. The weight keeps its storage format (F32 master
/// weights while training; what a checkpoint holds otherwise): kernels convert as they pack.
struct Parameter {
  TensorView weight;  ///< F32 or BF16; empty when a checkpoint holds the weight quantized
  TensorView grad;    ///< F32, same shape; empty outside training
  /// The weight with scales: as a checkpoint holds it, or this step's E4M3 copy of a master weight.
  kernels::GemmInput quantized;

  /// What matrix products read.
  kernels::GemmInput operand() const {
    return quantized.values ? quantized : kernels::GemmInput(weight);
  }
  /// Whether quantized can be an operand of FP8 products: E4M3, or what a scale for the whole
  /// tensor leaves of it, in BF16.
  bool is_fp8() const {
    const DType type = quantized.values.dtype;
    return quantized.values && (type == DType::kE4M3 || type == DType::kBF16);
  }
  int64_t rows() const { return operand().rows(); }
  explicit operator bool() const { return weight || quantized.values; }
};

}  // namespace fathom
