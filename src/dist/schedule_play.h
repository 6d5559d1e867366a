#pragma once

#include <string>
#include <vector>

#include "dist/simulate.h"

namespace fathom::dist {

/// A rank that can never run its next operation.
struct StuckRank {
  int rank;
  size_t operation;  ///< index in the rank's list
  std::string missing;
};

struct Play {
  std::vector<std::vector<Span>> spans;  ///< [rank][operation], of operations that ran
  std::vector<StuckRank> stuck;          ///< empty: everything ran
};

/// Runs every rank's list in order, each operation as soon as its inputs are there: what simulation
/// and checking share. Chunks, peers and times must be in range.
Play play(const Schedule& schedule, const StepTimes& times);

/// What a stuck rank is, in words.
std::string to_string(const StuckRank& stuck, const Schedule& schedule);

}  // namespace fathom::dist
