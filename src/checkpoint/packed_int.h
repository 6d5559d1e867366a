#pragma once

#include <string>
#include <vector>

#include "checkpoint/safetensors_header.h"
#include "kernels/stored_weights.h"

namespace fathom {

/// compressed-tensors' pack-quantized layout of a matrix X.weight [N, K]:
///   X.weight_packed I32 [N, ⌈K · bits / 32⌉]
///   X.weight_scale [N, G], G groups of a row
///   X.weight_zero_point I32 [⌈N · bits / 32⌉, G], unless symmetric
///   X.weight_shape I64 [2] = (N, K)
struct PackedIntLayout {
  int64_t rows = 0, cols = 0;
  int64_t bits = 4;
  int64_t group = 0;  ///< elements of a row under one scale; 0: the whole row
  bool symmetric = true;

  int64_t groups() const { return group > 0 ? (cols + group - 1) / group : 1; }
  /// In the order above.
  std::vector<TensorSpec> tensors(const std::string& weight_name, DType scale_dtype) const;
  /// The matrix over its tensors; `zero` is empty when symmetric.
  kernels::GroupedIntOutput over(const TensorView& packed, const TensorView& scale,
                                 const TensorView& zero) const;
};

}  // namespace fathom
