#pragma once

#include <initializer_list>

#include "base/context.h"

namespace fathom::kernels {

/// Argument checks shared by the kernels: a wrong shape, dtype or device is a programmer error and
/// aborts with the kernel's name and the views.
void check_same_device(const char* kernel, const Context& ctx,
                       std::initializer_list<ConstTensorView> views);
void check_dtype(const char* kernel, const char* argument, const ConstTensorView& view,
                 std::initializer_list<DType> allowed);
void check_shape(const char* kernel, const char* argument, const ConstTensorView& view,
                 std::initializer_list<int64_t> shape);

}  // namespace fathom::kernels
