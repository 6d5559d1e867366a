#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "model/config.h"
#include "model/config_fields.h"

namespace fathom {

/// quantization_config of a config.json, if it has one.
void read_quantization(FieldReader& fields, ConfigProblems& problems,
                       std::optional<QuantizationConfig>& quantization);
/// The same as it is written. For integers: as the published packers write it, every Linear
/// quantized but gates, head and eh_proj.
nlohmann::ordered_json quantization_json(const QuantizationConfig& quantization);

}  // namespace fathom
