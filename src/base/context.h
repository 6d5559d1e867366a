#pragma once

#include <cstdint>

#include "base/arena.h"
#include "base/cpu.h"
#include "base/tensor.h"
#include "base/thread_pool.h"

namespace fathom {

/// How a product of activations and weights is computed. A row of the result has the same bits
/// whatever the number of rows, as long as the form is the same.
enum class ProductForm : uint8_t {
  kBySize,    ///< streamed for few rows, packed for more: the fastest for a call by itself
  kStreamed,  ///< weights as they lie, for any number of rows: for tokens that come one by one
  kPacked,    ///< both sides packed into panels, for any number of rows: for prompts
};

/// What every kernel and layer runs in, passed explicitly: the device and its resources. A CUDA
/// backend adds its stream here and implements the same kernel headers.
struct Context {
  Device device;
  ThreadPool& pool;
  Arena& arena;  ///< temporaries, and what layers keep for their backward
  Isa isa = active_isa();
  ProductForm product_form = ProductForm::kBySize;
};

}  // namespace fathom
