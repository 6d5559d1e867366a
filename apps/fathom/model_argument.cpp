#include "model_argument.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "checkpoint/gguf_tokenizer.h"
#include "checkpoint/model_io.h"

namespace fathom::app {
namespace fs = std::filesystem;

ModelConfig config_of(const std::string& model) {
  const auto& presets = ModelConfig::preset_names();
  if (std::find(presets.begin(), presets.end(), model) != presets.end() && !fs::exists(model))
    return ModelConfig::preset(model);
  if (fs::is_directory(model) || is_gguf(model)) return stored_config(model);
  if (fs::exists(model) || model.find('/') != std::string::npos || model.ends_with(".json"))
    return ModelConfig::from_file(model);
  return ModelConfig::preset(model);  // its error lists the presets
}

bool is_stored(const std::string& model) {
  return fs::is_directory(model) || is_gguf(model);
}

std::string tokenizer_of(const std::string& model, const std::string& tokenizer) {
  if (!tokenizer.empty() || !is_gguf(model)) return tokenizer.empty() ? model : tokenizer;
  const fs::path beside = fs::path(model).parent_path();
  return beside.empty() ? "." : beside.string();
}

Tokenizer load_tokenizer(const std::string& model, const std::string& tokenizer) {
  if (tokenizer.empty() && is_gguf(model)) {
    if (std::optional<Tokenizer> own = gguf_tokenizer(model)) return std::move(*own);
    const fs::path beside = tokenizer_of(model);
    if (!fs::exists(beside / "tokenizer.json") && !fs::exists(beside / "tiktoken.model"))
      throw Error(fmt::format("{} has no vocabulary, and no tokenizer lies beside it", model),
                  "name a directory with the model's tokenizer.json or tiktoken.model: --tokenizer "
                  "DIR");
  }
  return Tokenizer::load(tokenizer_of(model, tokenizer));
}

}  // namespace fathom::app
