#include "bench/matrices.h"

#include <cmath>

#include "bench/runner.h"
#include "kernels/measure.h"

namespace fathom::app {
namespace {

kernels::ScaleTile tile_of(Role role) {
  switch (role) {
    case Role::kActivation:
      return kernels::kTile1x128;
    case Role::kTransposedActivation:
      return kernels::kTile128x1;
    case Role::kWeight:
      break;
  }
  return kernels::kBlock128x128;
}

}  // namespace

kernels::GemmInput Matrix::input() const {
  if (!scale) return values;
  return kernels::ConstQuantizedView(values, scale, tile);
}

Matrix random_matrix(Context& ctx, const std::string& dtype, Role role, int64_t rows,
                     int64_t cols) {
  Matrix m;
  m.values = kernels::random_tensor(ctx, dtype_of(dtype), {rows, cols});
  if (dtype != "e4m3") return m;
  m.tile = tile_of(role);
  const int64_t tiles_down = (rows + m.tile.rows - 1) / m.tile.rows;
  const int64_t tiles_across = (cols + m.tile.cols - 1) / m.tile.cols;
  m.scale = Tensor(DType::kF32, {tiles_down, tiles_across});
  for (int64_t i = 0; i < tiles_down * tiles_across; ++i)
    m.scale.as<float>()[i] = std::ldexp(1.0f, static_cast<int>(i % 4) - 10);
  return m;
}

double element_bytes(const std::string& dtype) {
  return static_cast<double>(size_of(dtype_of(dtype)));
}

}  // namespace fathom::app
