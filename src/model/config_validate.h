#pragma once

#include "model/config.h"
#include "model/config_fields.h"

namespace fathom {

void check_model_type(const ModelConfig& config, ConfigProblems& problems);

/// Adds what is out of range or contradictory in a config whose fields were read.
void find_contradictions(const ModelConfig& config, ConfigProblems& problems);

}  // namespace fathom
