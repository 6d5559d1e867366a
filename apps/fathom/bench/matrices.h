#pragma once

#include <string>
#include <vector>

#include "base/context.h"
#include "kernels/quantized.h"

namespace fathom::app {

/// What a matrix is to a product decides how E4M3 is scaled: activations in tiles along their rows,
/// or along their columns where they are contracted over tokens; weights in blocks.
enum class Role { kActivation, kTransposedActivation, kWeight };

/// An input of a product and its memory.
struct Matrix {
  Tensor values, scale, zero;  ///< the latter two: empty unless the format has them
  kernels::ScaleTile tile;
  kernels::GemmInput stored;  ///< of formats that only weights have

  kernels::GemmInput input() const;
  kernels::GemmInput input(int64_t first_row, int64_t rows) const {
    return input().row_range(first_row, rows);
  }
};

/// dtype: bf16, fp32, e4m3 (with power-of-two scales), or a format that only weights have: then
/// what is no weight is BF16.
Matrix random_matrix(Context& ctx, const std::string& dtype, Role role, int64_t rows, int64_t cols);
/// Of a weight, with its scales, E4M3's apart.
double element_bytes(const std::string& dtype);

/// Names of formats that only weights have: int4 and int8 in groups of 128 with BF16 scales, -g32
/// of 32, -zp with zero points; f16; GGUF blocks.
const std::vector<std::string>& stored_format_names();
/// What activations beside weights of a dtype are in.
std::string activation_dtype(const std::string& dtype);

}  // namespace fathom::app
