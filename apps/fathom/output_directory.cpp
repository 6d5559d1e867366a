#include "output_directory.h"

#include <fmt/format.h>

#include "base/error.h"

namespace fathom::app {
namespace fs = std::filesystem;

void check_unused(const fs::path& out) {
  std::error_code code;
  if (fs::equivalent(out, ".", code))  // the shell would stay in the one that is replaced
    throw Error(fmt::format("{} is the directory that this runs in", out.string()),
                "give --out a new directory");
  if (fs::exists(out, code) && !(fs::is_directory(out, code) && fs::is_empty(out, code)))
    throw Error(fmt::format("{} already exists and is not an empty directory", out.string()),
                "choose another --out");
}

}  // namespace fathom::app
