#pragma once

#include "checkpoint/model_io.h"

namespace fathom::app {

/// Before a model is used: asks for huge pages, reads everything from disk if `preload`, and warns
/// when the weights exceed the memory that can be had, with the speed to expect.
void prepare_weights(const StoredModel& stored, bool preload);

}  // namespace fathom::app
