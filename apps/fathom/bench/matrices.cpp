#include "bench/matrices.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <map>

#include "base/error.h"
#include "bench/runner.h"
#include "kernels/measure.h"
#include "numerics/f16.h"

namespace fathom::app {
namespace {

using kernels::GemmInput;

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

/// A format that only weights have; group: of integers.
struct Stored {
  StorageFormat format;
  int64_t group = 0;
  bool zeros = false;
};
const std::map<std::string, Stored>& stored_formats() {
  using F = StorageFormat;
  static const std::map<std::string, Stored> kFormats = {
      {"f16", {F::kF16}},           {"int4", {F::kInt4, 128}},
      {"int4-g32", {F::kInt4, 32}}, {"int4-zp", {F::kInt4, 128, true}},
      {"int8", {F::kInt8, 128}},    {"int8-g32", {F::kInt8, 32}},
      {"q8_0", {F::kQ8_0}},         {"q4_0", {F::kQ4_0}},
      {"q4_k", {F::kQ4_K}},         {"q5_k", {F::kQ5_K}},
      {"q6_k", {F::kQ6_K}}};
  return kFormats;
}

/// Random bytes; no F16 among them is infinite or NaN.
Tensor random_bytes(Context& ctx, DType dtype, int64_t rows, int64_t row_bytes) {
  const Tensor codes = kernels::random_tensor(ctx, DType::kE4M3, {rows, row_bytes});
  Tensor t(dtype, {rows, row_bytes / static_cast<int64_t>(size_of(dtype))});
  std::memcpy(t.view().data, codes.view().data, t.view().bytes());
  return t;
}

/// Sets the scales of every block to ordinary numbers.
void set_block_scales(const Tensor& blocks, StorageFormat format) {
  const int64_t block = info_of(format).block_bytes;
  const F16 scale = to_f16(0x1p-10f);
  const bool two = format == StorageFormat::kQ4_K || format == StorageFormat::kQ5_K;
  auto* bytes = static_cast<std::byte*>(blocks.view().data);
  for (int64_t at = 0; at < blocks.view().elements(); at += block) {
    std::memcpy(bytes + at + (format == StorageFormat::kQ6_K ? 208 : 0), &scale, sizeof scale);
    if (two) std::memcpy(bytes + at + 2, &scale, sizeof scale);
  }
}

Matrix stored_matrix(Context& ctx, const Stored& s, int64_t rows, int64_t cols) {
  Matrix m;
  const DType dtype = s.format == StorageFormat::kF16    ? DType::kF16
                      : s.format == StorageFormat::kInt4 ? DType::kI32
                      : s.format == StorageFormat::kInt8 ? DType::kI8
                                                         : DType::kU8;
  if (cols % info_of(s.format).block != 0)
    throw UsageError(fmt::format("rows of {} elements cannot be {}", cols, info_of(s.format).name),
                     fmt::format("give a multiple of {}", info_of(s.format).block));
  m.values = random_bytes(ctx, dtype, rows, stored_bytes(s.format, cols));
  if (is_gguf_block(s.format)) {
    set_block_scales(m.values, s.format);
    m.stored = GemmInput::gguf(s.format, m.values, cols);
  } else if (s.format == StorageFormat::kF16) {
    m.stored = m.values;
  } else {
    const int64_t groups = (cols + s.group - 1) / s.group;
    m.scale = kernels::random_tensor(ctx, DType::kBF16, {rows, groups});
    if (s.zeros) m.zero = random_bytes(ctx, DType::kI32, (rows + 7) / 8, 4 * groups);
    m.stored = GemmInput::grouped_int(s.format, m.values, cols, m.scale, s.group,
                                      m.zero ? m.zero.view() : TensorView{});
  }
  return m;
}

}  // namespace

const std::vector<std::string>& stored_format_names() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (const auto& [name, format] : stored_formats()) names.push_back(name);
    return names;
  }();
  return kNames;
}

std::string activation_dtype(const std::string& dtype) {
  return stored_formats().contains(dtype) ? "bf16" : dtype;
}

GemmInput Matrix::input() const {
  if (stored.values) return stored;
  if (!scale) return values;
  return kernels::ConstQuantizedView(values, scale, tile);
}

Matrix random_matrix(Context& ctx, const std::string& dtype, Role role, int64_t rows,
                     int64_t cols) {
  const auto format = stored_formats().find(dtype);
  if (format != stored_formats().end() && role == Role::kWeight)
    return stored_matrix(ctx, format->second, rows, cols);
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
  const auto format = stored_formats().find(dtype);
  if (format == stored_formats().end()) return static_cast<double>(size_of(dtype_of(dtype)));
  const auto& [f, group, zeros] = format->second;
  const FormatInfo info = info_of(f);
  const double codes = static_cast<double>(info.block_bytes) / static_cast<double>(info.block);
  return group > 0 ? codes + (zeros ? 2.5 : 2) / static_cast<double>(group) : codes;
}

}  // namespace fathom::app
