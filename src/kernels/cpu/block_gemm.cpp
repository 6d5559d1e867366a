#include "kernels/cpu/block_gemm.h"

#include <algorithm>

#include "kernels/cpu/gemm_table.h"

namespace fathom::kernels::cpu {
namespace {

int64_t a_bytes(const GemmKernels& kernels, int64_t m, int64_t k) {
  return kernels.a_panels(m) * kernels.a_panel_bytes(k);
}

GemmOperand operand(const ConstTensorView& x, bool k_contiguous) {
  return {x.data, x.dtype, x.stride[0], k_contiguous};
}

}  // namespace

size_t block_gemm_workspace(Isa isa, GemmPrecision precision, int64_t m, int64_t n, int64_t k) {
  const GemmKernels& kernels = gemm_kernels(isa, precision);
  const int64_t k_block = std::min(k, kernels.block_k());
  return static_cast<size_t>(a_bytes(kernels, m, k_block) +
                             kernels.b_panels(n) * kernels.b_panel_bytes(k_block));
}

void block_gemm(Isa isa, GemmLayout layout, GemmPrecision precision, ConstTensorView a,
                ConstTensorView b, MatrixView<float> c, bool accumulate, void* workspace) {
  const GemmKernels& kernels = gemm_kernels(isa, precision);
  const int64_t k_count = layout == GemmLayout::kTN ? a.rows() : a.cols();
  const GemmOperand a_operand = operand(a, layout != GemmLayout::kTN);
  const GemmOperand b_operand = operand(b, layout == GemmLayout::kNT);
  if (k_count == 0 && !accumulate)
    for (int64_t r = 0; r < c.rows; ++r) std::fill_n(c.row(r), c.cols, 0.0f);
  for (int64_t k = 0; k < k_count; k += kernels.block_k()) {
    const GemmRange range{k, std::min(kernels.block_k(), k_count - k)};
    auto* a_panels = static_cast<std::byte*>(workspace);
    std::byte* b_panels = a_panels + a_bytes(kernels, c.rows, range.count);
    const int64_t a_step = kernels.a_panel_bytes(range.count);
    const int64_t b_step = kernels.b_panel_bytes(range.count);
    kernels.pack_a(a_operand, {0, c.rows}, range, a_panels, a_step);
    kernels.pack_b(b_operand, {0, c.cols}, range, b_panels, b_step);
    kernels.multiply({a_panels, b_panels, a_step, b_step, c.rows, c.cols, range.count, c.data,
                      c.stride, accumulate || k > 0});
  }
}

}  // namespace fathom::kernels::cpu
