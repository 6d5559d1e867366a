#pragma once

#include <numeric>
#include <vector>

#include "model/pass.h"

namespace fathom {

/// Consecutive positions of one sequence: what a Pass over them points to.
struct TokenRange {
  TokenRange(int64_t begin, int64_t tokens)
      : position_T(static_cast<size_t>(tokens)), offsets{0, tokens} {
    std::iota(position_T.begin(), position_T.end(), static_cast<int32_t>(begin));
  }
  Pass pass(Context& ctx, const PassOptions& options) const {
    return make_pass(ctx, options, position_T, offsets);
  }

  std::vector<int32_t> position_T;
  std::vector<int64_t> offsets;
};

}  // namespace fathom
