#pragma once

#include <filesystem>

namespace fathom::app {

/// A command's --out takes the place of what is there: only of nothing. Throws otherwise.
void check_unused(const std::filesystem::path& out);

}  // namespace fathom::app
