#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/gemm_table.h"

namespace fathom::kernels::cpu::FATHOM_ISA_NS {
namespace {

/// Brings the next panel of A closer while the present one is multiplied, a share with each tile of
/// its row: panels come from L3, whose latency the processor does not hide (measured on Zen 5: 75%
/// of peak without, 87% with).
class NextPanel {
 public:
  NextPanel(const std::byte* panel, int64_t bytes, int64_t tiles)
      : at_(panel), end_(panel + bytes), share_(bytes / std::max<int64_t>(tiles, 1) + 64) {}
  void prefetch() {
    const std::byte* stop = std::min(end_, at_ + share_);
    for (; at_ < stop; at_ += 64) __builtin_prefetch(at_, 0, 2);
  }

 private:
  const std::byte *at_, *end_;
  int64_t share_;
};

inline int64_t tiles_of(const PackedBlock& block, int64_t rows, int64_t cols) {
  return ((block.rows + rows - 1) / rows) * ((block.cols + cols - 1) / cols);
}

/// Brings memory that will be packed next into L2, a share with each tile.
class NextSource {
 public:
  NextSource(const MemoryRows& from, int64_t tiles) : from_(from) {
    const int64_t lines = from.rows * (from.row_bytes / kLine + 1);
    share_ = lines / std::max<int64_t>(tiles, 1) + 1;
  }
  void prefetch() {
    for (int64_t i = 0; i < share_ && from_.rows > 0; ++i) {
      __builtin_prefetch(from_.at + offset_, 0, 2);
      if ((offset_ += kLine) < from_.row_bytes) continue;
      offset_ = 0;
      from_.at += from_.stride;
      --from_.rows;
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  MemoryRows from_;
  int64_t share_, offset_ = 0;
};

}  // namespace
}  // namespace fathom::kernels::cpu::FATHOM_ISA_NS
