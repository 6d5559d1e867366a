#pragma once

// C = A·Bᵀ for one or two rows of A and FP16 weights, rounded in registers on their way to the
// multiply-adds (BF16 products). A block of columns is read as four streams, as in
// gemm_stream_nt.h, and each sum adds in the same order as there. For files compiled once per
// instruction set.

#include "kernels/cpu/gemm_decode_vbmi.h"
#include "kernels/cpu/gemm_stream_source.h"

#if defined(__AVX512BF16__) && defined(__AVX512VBMI__) && !defined(__AMX_BF16__)

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

constexpr int64_t kFusedRows = 2;

template <int64_t R>
class FusedDots {
 public:
  explicit FusedDots(const StreamBlock& x)
      : x_(x),
        row_bytes_(word_row_bytes(x.k, 2)),
        steps_(x.k / kStep),
        quarter_(std::max<int64_t>(x.cols / kColumns, 1)) {}

  void run() const {
    for (int64_t j = 0; j < quarter_; ++j) columns(j, quarter_);
    for (int64_t j = quarter_ * kColumns; j < x_.cols; j += kColumns) columns(j, 1);
  }

 private:
  using Row = FastF16Row;
  static constexpr int64_t kColumns = 4, kStep = 32 * Row::kVectors;
  // How far ahead of its use memory is asked for.
  static constexpr int64_t kAhead = 2048, kLine = 64;

  /// Columns j, j + gap, …; those beyond the block are multiplied for nothing.
  [[gnu::flatten]] void columns(int64_t j, int64_t gap) const {
    const auto column = [&](int64_t c) { return x_.col + std::min(j + c * gap, x_.cols - 1); };
    Row weights[kColumns] = {
        {x_.b, column(0)}, {x_.b, column(1)}, {x_.b, column(2)}, {x_.b, column(3)}};
    const std::byte* from[kColumns];
    for (int64_t c = 0; c < kColumns; ++c) from[c] = x_.b.row(column(c));
    VecF sum[R][kColumns];
    unrolled<R * kColumns>([&](auto i) { sum[i / kColumns][i % kColumns] = VecF{}; });
    const std::byte* a = x_.a;
    const auto multiply = [&](auto c, auto v, __m512i words) {
      unrolled<R>([&](auto r) {
        VecF a_r;
        __builtin_memcpy(&a_r, a + r * row_bytes_ + v * kVectorBytes, sizeof a_r);
        sum[r][c] = UnitBF16::multiply_add(sum[r][c], a_r, bit_cast_vec<VecF>(words));
      });
    };
    for (int64_t s = 0; s < steps_; ++s, a += 2 * kStep) {
      for (int64_t c = 0; c < kColumns; ++c)
        for (int64_t line = 0; line < Row::kStepBytes; line += kLine)
          __builtin_prefetch(from[c] + kAhead + line);
      unrolled<kColumns>([&](auto c) {
        weights[c].step(from[c], s, [&](auto v, __m512i words) { multiply(c, v, words); });
        from[c] += Row::kStepBytes;
      });
    }
    if (const int64_t left = x_.k - steps_ * kStep; left > 0)
      unrolled<kColumns>([&](auto c) {
        alignas(64) BF16 rest[kStep] = {};
        decode_to(x_.b, column(c), {steps_ * kStep, left}, 0, rest);
        unrolled<kStep / 32>([&](auto v) { multiply(c, v, load_512(rest + 32 * v)); });
      });
    unrolled<R>([&](auto r) {
      const Vec4 dots = reduce_four(sum[r]);
      float* out = x_.sums + r * x_.sums_stride;
      for (int64_t c = 0; c < kColumns && j + c * gap < x_.cols; ++c) out[j + c * gap] = dots[c];
    });
  }

  const StreamBlock& x_;
  const int64_t row_bytes_, steps_, quarter_;
};

/// For at most kFusedRows rows.
inline void fused_dots(const StreamBlock& x) {
  x.rows == 1 ? FusedDots<1>(x).run() : FusedDots<2>(x).run();
}

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS

#endif
