#pragma once

#include "base/tensor.h"

namespace fathom {

/// A weight and, while training, its gradient. The weight keeps its storage format (F32 master
/// weights while training; BF16 or F32 mapped from a file otherwise): kernels convert as they pack.
struct Parameter {
  TensorView weight;
  TensorView grad;  ///< F32, same shape; empty outside training

  explicit operator bool() const { return static_cast<bool>(weight); }
};

}  // namespace fathom
