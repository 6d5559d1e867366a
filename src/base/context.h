#pragma once

#include "base/arena.h"
#include "base/cpu.h"
#include "base/tensor.h"
#include "base/thread_pool.h"

namespace fathom {

/// What every kernel and layer runs in, passed explicitly: the device and its resources. A CUDA
/// backend adds its stream here and implements the same kernel headers.
struct Context {
  Device device;
  ThreadPool& pool;
  Arena& arena;  ///< temporaries, and what layers keep for their backward
  Isa isa = active_isa();
};

}  // namespace fathom
