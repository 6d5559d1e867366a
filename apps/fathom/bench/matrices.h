#pragma once

#include <string>

#include "base/context.h"
#include "kernels/quantized.h"

namespace fathom::app {

/// What a matrix is to a product decides how E4M3 is scaled: activations in tiles along their rows,
/// or along their columns where they are contracted over tokens; weights in blocks.
enum class Role { kActivation, kTransposedActivation, kWeight };

/// An input of a product and its memory.
struct Matrix {
  Tensor values, scale;  ///< scale: empty unless E4M3
  kernels::ScaleTile tile;

  kernels::GemmInput input() const;
  kernels::GemmInput input(int64_t first_row, int64_t rows) const {
    return input().row_range(first_row, rows);
  }
};

/// dtype: bf16, fp32 or e4m3 (with power-of-two scales).
Matrix random_matrix(Context& ctx, const std::string& dtype, Role role, int64_t rows, int64_t cols);
double element_bytes(const std::string& dtype);

}  // namespace fathom::app
