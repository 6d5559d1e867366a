#include "kernels/emulated_gemm.h"

#include "kernels/cpu/ops_scaled.h"

namespace fathom::kernels {
namespace {

using namespace cpu;

constexpr int64_t kBlock = 128;  // the columns that share a scale

/// Scale of block k of row r.
float scale_of(const ScaledCodes& q, int64_t r, int64_t k) {
  return q.scale[(q.first_row + r) / q.tile_rows * q.scale_stride + k];
}

/// Rows of b as columns beside each other, for the panel's dot products with a row of a.
class Panel {
 public:
  Panel(Context& ctx, const ScaledCodes& b, int64_t first, int64_t n, int64_t depth)
      : values_(static_cast<size_t>(depth * kEmulatedPanel)),
        scales_(static_cast<size_t>((depth + kBlock - 1) / kBlock * kEmulatedPanel)) {
    std::vector<float> row(static_cast<size_t>(depth));
    for (int64_t j = 0; j < n; ++j) {
      ops(ctx).quantize.decode(b.codes + (first + j) * b.stride, 1, row.data(), depth);
      for (int64_t k = 0; k < depth; ++k) values_[k * kEmulatedPanel + j] = row[k];
      for (int64_t k = 0; k * kBlock < depth; ++k)
        scales_[k * kEmulatedPanel + j] = scale_of(b, first + j, k);
    }
  }
  const float* values() const { return values_.data(); }
  const float* scales() const { return scales_.data(); }

 private:
  std::vector<float> values_, scales_;
};

void check_operand(const char* name, const ConstQuantizedView& q) {
  check_dtype("emulated_gemm", name, q.codes, {DType::kE4M3});
  FATHOM_ASSERT(q.tile == kTile1x128 || q.tile == kBlock128x128);
}

}  // namespace

void emulated_gemm(Context& ctx, const ConstQuantizedView& a_MK, const ConstQuantizedView& b_NK,
                   TensorView c_MN, const TensorCoreAccumulator& accumulator) {
  constexpr const char* kName = "emulated_gemm";
  const int64_t m = a_MK.rows(), n = b_NK.rows(), depth = a_MK.cols();
  check_same_device(kName, ctx, {a_MK.codes, b_NK.codes, c_MN});
  check_operand("a", a_MK);
  check_operand("b", b_NK);
  FATHOM_ASSERT(b_NK.cols() == depth);
  check_shape(kName, "c", c_MN, {m, n});
  const int64_t promotion = accumulator.promotion;
  FATHOM_ASSERT(accumulator.group > 0 && accumulator.bits >= 2 && accumulator.bits <= 16);
  FATHOM_ASSERT(promotion % accumulator.group == 0 && kBlock % accumulator.group == 0);
  FATHOM_ASSERT(promotion > kBlock || promotion == 0 || kBlock % promotion == 0);
  const ScaledCodes a = scaled_codes_of(kName, a_MK), b = scaled_codes_of(kName, b_NK);
  const MatrixView<float> c = c_MN.matrix<float>();

  ctx.pool.for_each((n + kEmulatedPanel - 1) / kEmulatedPanel, [&](int64_t panel, int) {
    const int64_t first = panel * kEmulatedPanel, width = std::min(kEmulatedPanel, n - first);
    const Panel columns(ctx, b, first, width, depth);
    std::vector<float> row(static_cast<size_t>(depth));
    for (int64_t i = 0; i < m; ++i) {
      ops(ctx).quantize.decode(a.codes + i * a.stride, 1, row.data(), depth);
      const float* scales = a.scale + (a.first_row + i) / a.tile_rows * a.scale_stride;
      float out[kEmulatedPanel];
      ops(ctx).quantize.emulated_dot(
          {accumulator.group, accumulator.bits, promotion ? promotion : depth, kBlock}, row.data(),
          scales, columns.values(), columns.scales(), depth, out);
      std::copy_n(out, width, c.row(i) + first);
    }
  });
}

}  // namespace fathom::kernels
