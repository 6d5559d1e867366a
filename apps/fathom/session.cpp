#include "session.h"

namespace fathom::app {

kernels::GemmPrecision parse_precision(const std::string& name) {
  return name == "fp32" ? kernels::GemmPrecision::kF32 : kernels::GemmPrecision::kBF16;
}

std::optional<kernels::LatentCacheFormat> parse_cache_format(const std::string& name) {
  using enum kernels::LatentCacheFormat;
  if (name.empty()) return std::nullopt;
  return name == "fp8" ? kFP8 : kBF16;
}

}  // namespace fathom::app
