#pragma once

#include <optional>

#include "base/context.h"
#include "kernels/gemm.h"
#include "kernels/latent_cache.h"
#include "options.h"

namespace fathom::app {

/// The threads and memory a subcommand computes with.
struct Session {
  explicit Session(const GlobalOptions& global) : pool(global.threads) {}

  ThreadPool pool;
  Arena arena;
  Context ctx{Device{}, pool, arena};
};

/// "fp32" or "bf16", as checked by the command line.
kernels::GemmPrecision parse_precision(const std::string& name);

/// "bf16", "fp8" or, for what suits the precision, "", as checked by the command line.
std::optional<kernels::LatentCacheFormat> parse_cache_format(const std::string& name);

}  // namespace fathom::app
