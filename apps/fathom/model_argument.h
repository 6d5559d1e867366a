#pragma once

#include <string>

#include "model/config.h"
#include "text/tokenizer.h"

namespace fathom::app {

/// The shape that a --model argument names: a model directory, a GGUF file, a config.json, or a
/// preset.
ModelConfig config_of(const std::string& model);
/// Whether it names weights, not only a shape.
bool is_stored(const std::string& model);
/// The directory whose tokenizer.json a model is used with: --tokenizer where it is given, else the
/// model's own; beside a GGUF file, the directory it lies in.
std::string tokenizer_of(const std::string& model, const std::string& tokenizer = {});
/// The tokenizer there; without --tokenizer that of a GGUF file itself, where it carries one.
Tokenizer load_tokenizer(const std::string& model, const std::string& tokenizer = {});

}  // namespace fathom::app
