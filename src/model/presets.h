#pragma once

#include <string>
#include <string_view>

namespace fathom {

/// One line for a list of presets: what it is for, total and active parameters.
/// "DeepSeek-V3, R1 and V3.1: 671.03B parameters, 37.55B active, and 11.61B in MTP".
std::string describe_preset(std::string_view name);

}  // namespace fathom
