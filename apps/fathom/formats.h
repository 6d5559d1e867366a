#pragma once

#include <cstdint>
#include <string>

#include "options.h"

namespace fathom::app {

struct FormatsArguments {
  std::string model, text, precision = "bf16";
  int64_t seq_len = 512, max_tokens = 16384;
};

int run_debug_formats(const GlobalOptions&, const FormatsArguments&);

}  // namespace fathom::app
