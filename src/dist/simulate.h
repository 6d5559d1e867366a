#pragma once

#include <cstdint>
#include <vector>

#include "dist/schedule.h"

namespace fathom::dist {

/// How long a stage's parts take for one micro-batch, in any one unit. A full backward takes
/// backward_input + backward_weight; that is the "B" of the published formulas, whose "W" is
/// backward_weight and whose "F&B" is overlapped.
struct StageTimes {
  double forward = 1;
  double backward_input = 1;
  double backward_weight = 1;
  double overlapped = 3;  ///< a forward and a full backward, run as one pair

  double backward() const { return backward_input + backward_weight; }
};

struct StepTimes {
  std::vector<StageTimes> stages{{}};  ///< one for all stages, or one for each
  double communication = 0;            ///< from a send to the arrival; occupies no rank
  double optimizer = 0;

  const StageTimes& of(int stage) const;
};

/// How long an operation occupies its rank; messages take nothing, and a pair of chunks of two
/// stages takes the mean of their overlapped times.
double duration(const Operation& operation, const StepTimes& times);

struct Span {
  double start = 0, end = 0;
};

/// Operations of one kind on one rank: how many, and their time in all.
struct Part {
  int64_t count = 0;
  double time = 0;
};

/// Where a rank's step goes: total = sum of the parts' times + bubble. These are the rows of the
/// ISCA paper's Table 4: 1F, 1B (backward and backward_input), 1W, 1F1B (overlapped), bubble and
/// optimizer.
struct RankTimes {
  Part forward, backward, backward_input, backward_weight, overlapped, optimizer;
  double bubble = 0;         ///< idle time
  int peak_activations = 0;  ///< most chunks kept at once, from start of F to end of B or W
  int stages = 0;            ///< different stages whose parameters the rank holds
};

struct Simulation {
  double total = 0;  ///< until the last rank has finished
  std::vector<RankTimes> ranks;
  std::vector<std::vector<Span>> spans;  ///< [rank][operation]; a receive's is the wait for it

  /// Of the rank where it is largest.
  double bubble() const;
  int peak_activations() const;
  int stages_per_rank() const;
};

/// Plays a schedule with given times. Throws Error when a time is negative or not finite, when
/// their number is neither 1 nor that of the stages, or when the schedule cannot be played.
Simulation simulate(const Schedule& schedule, const StepTimes& times);

}  // namespace fathom::dist
