#pragma once

#include <string>

#include "dist/simulate.h"

namespace fathom::dist {

/// What the published formulas say of a schedule (spec E.2: Table 2 of the technical report).
struct ClosedForm {
  double bubble = 0;
  int peak_activations = 0;  ///< chunks kept at once by the rank that keeps most
  int stages_per_rank = 0;   ///< copies of the parameters, in units of a stage's
  int ranks = 0;
  std::string formula;    ///< "(PP/2-1)·(F&B+B-3W)", B a full backward
  std::string numbers;    ///< the same with the numbers put in
  bool exact = false;     ///< whether the formula describes these times and this size
  std::string condition;  ///< "when …" it does, found by simulation
};

/// For stages of equal times. Communication is not in the formulas.
ClosedForm closed_form(ScheduleKind kind, int stages, int micro_batches, const StageTimes& times);

}  // namespace fathom::dist
