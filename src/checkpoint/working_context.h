#pragma once

#include "base/context.h"

namespace fathom {

/// Threads and memory of its own, for work while a model is opened.
struct WorkingContext {
  ThreadPool pool{0};
  Arena arena;
  Context context{Device{}, pool, arena};
};

}  // namespace fathom
