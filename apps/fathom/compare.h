#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "options.h"

namespace fathom::app {

struct CompareArguments {
  std::vector<std::string> runs;  ///< directories; the first is the baseline
  double ema = 0.9;
  std::optional<int64_t> warmup;  ///< steps; default: the baseline's
  std::string svg;                ///< file to draw into; empty: none
  bool curves = false;            ///< every step's values in the JSON document
};

int run_compare(const GlobalOptions&, const CompareArguments&);

}  // namespace fathom::app
