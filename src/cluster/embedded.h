#pragma once

#include <string_view>

namespace fathom::cluster {

// share/cluster/*.toml, put into the binary by CMake so that it runs from anywhere.
extern const std::string_view kHardwareToml;
extern const std::string_view kModelsToml;

}  // namespace fathom::cluster
