#include "session.h"

namespace fathom::app {

kernels::GemmPrecision parse_precision(const std::string& name) {
  return name == "fp32" ? kernels::GemmPrecision::kF32 : kernels::GemmPrecision::kBF16;
}

}  // namespace fathom::app
