#pragma once

#include <span>

#include "infer/engine.h"

namespace fathom {

/// Continues the prompt and waits for the end, or until `stop` says true. Throws when the request
/// cannot be served or fails.
GenerateResult generate(Engine& engine, std::span<const int32_t> prompt,
                        const GenerateOptions& options, const OnToken& on_token = {},
                        const StopRequested& stop = {});

}  // namespace fathom
