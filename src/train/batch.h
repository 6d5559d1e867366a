#pragma once

#include <cstdint>
#include <vector>

namespace fathom::train {

/// Windows of the packed token stream: tokens [sequences, seq_len + lookahead], row-major. The
/// last `lookahead` = 1 + D columns (D the MTP depth) are the next window's first, so that every
/// position has a target at every depth. Samples see each other: no mask (TR §4.1).
struct Batch {
  int64_t sequences = 0, seq_len = 0, lookahead = 0;
  std::vector<int32_t> tokens;
};

}  // namespace fathom::train
