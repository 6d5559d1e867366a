// Any bytes as a file of expert loads: accepted loads can be placed; anything else gives an Error.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "dist/expert_loads.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom;
  try {
    const dist::LayerLoads loads =
        dist::parse_expert_loads({reinterpret_cast<const char*>(data), size}, "file");
    const int experts = static_cast<int>(loads.front().size());
    dist::place_experts(loads, {.replicas = 2 * experts, .gpus = experts});
  } catch (const Error&) {
  }
  return 0;
}
