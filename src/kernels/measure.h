#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <vector>

#include "base/context.h"

namespace fathom::kernels {

/// What `fathom bench` and the programs in bench/ measure with. The roofs are in cpu/roof.h.

double seconds_of(const std::function<void()>& work);
/// Of a list that is not empty.
double median(std::vector<double> values);

/// Values in [-0.5, 0.5), the same 64 Ki over and over: what matters for speed is that memory holds
/// no zeros, denormals or NaN. F32, BF16 or E4M3 (all sizes of finite codes).
Tensor random_tensor(Context& ctx, DType dtype, std::initializer_list<int64_t> shape,
                     uint64_t seed = 1);

}  // namespace fathom::kernels
