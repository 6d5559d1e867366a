#pragma once

#include <string>

#include "model/config.h"

namespace fathom::app {

/// The shape that a --model argument names: a model directory, a config.json, or a preset.
ModelConfig config_of(const std::string& model);

}  // namespace fathom::app
