#pragma once

#include "checkpoint/model_io.h"

namespace fathom::app {

/// Warns when the weights exceed the memory that can be had, with the speed to expect.
void warn_if_too_large(const StoredModel& stored);
/// Before a model is used: asks for huge pages, warns, and reads everything from disk if `preload`.
void prepare_weights(const StoredModel& stored, bool preload);

}  // namespace fathom::app
