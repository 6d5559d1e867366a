#pragma once

#include "infer/sequence.h"

namespace fathom {

/// The rows of a step whose logits are wanted: gathered from its passes, so that the output head is
/// read once.
struct Engine::Logits {
  Logits(CachedModel& model, const Sequences& sequences);

  TensorView hidden_LD, logits_LV;
  int64_t rows = 0;
};

}  // namespace fathom
