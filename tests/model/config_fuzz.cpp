// Any bytes as a config.json: a valid one gives a config that survives being written and counted,
// anything else gives an Error.
#include <cstdint>
#include <cstdlib>

#include "model/config.h"
#include "model/parameter_count.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using fathom::ModelConfig;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const ModelConfig config = ModelConfig::from_json(text, "config.json");
    if (fathom::count_parameters(config).total <= 0) std::abort();
    if (config.softmax_scale() <= 0) std::abort();
    if (ModelConfig::from_json(config.to_json("bfloat16"), "again") != config) std::abort();
  } catch (const fathom::Error&) {
  }
  return 0;
}
