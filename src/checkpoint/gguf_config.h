#pragma once

#include <string>

#include "checkpoint/gguf_file.h"
#include "model/config.h"

namespace fathom {

/// The shape of a deepseek2 model from the metadata of its GGUF file. Every key that the shape
/// needs is required; all problems are listed in one Error naming `source`.
///
/// Converters before 2025 left out the expert groups and llama.cpp computed without them; they are
/// then those of the published model with as many experts, with a line in the log.
ModelConfig gguf_config(const GgufReader& reader, const std::string& source);

}  // namespace fathom
