#include "model_argument.h"

#include <algorithm>
#include <filesystem>

namespace fathom::app {
namespace fs = std::filesystem;

ModelConfig config_of(const std::string& model) {
  const auto& presets = ModelConfig::preset_names();
  if (std::find(presets.begin(), presets.end(), model) != presets.end() && !fs::exists(model))
    return ModelConfig::preset(model);
  if (fs::is_directory(model)) return ModelConfig::from_file(fs::path(model) / "config.json");
  if (fs::exists(model) || model.find('/') != std::string::npos || model.ends_with(".json"))
    return ModelConfig::from_file(model);
  return ModelConfig::preset(model);  // its error lists the presets
}

}  // namespace fathom::app
