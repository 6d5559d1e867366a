#pragma once

#include "train/objective.h"

namespace fathom::train {

/// Auxiliary-loss-free balancing (spec A.5): at the end of a step every expert's correction bias
/// moves by speed: b_i += speed · sign(mean load − load_i), loads counted over the whole batch.
/// Layers in the order of ExpertLoads. Does nothing for models without correction bias.
void update_correction_bias(ModelWeights& weights, const ExpertLoads& loads, float speed);

/// (largest load − mean) / mean, averaged over the mixture layers; 0 without any.
double max_violation(const ExpertLoads& loads);

}  // namespace fathom::train
