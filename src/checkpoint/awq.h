#pragma once

#include <string>
#include <vector>

#include "base/context.h"
#include "kernels/quantized.h"
#include "model/weights.h"

namespace fathom {

/// "model.…q_proj.weight" and "qweight" give "model.…q_proj.qweight".
std::string awq_name(const std::string& weight_name, const std::string& kind);

/// An AWQ matrix turned so that its codes lie along the inputs (kernels::repack_awq), in memory
/// added to `owned`. group 0: a scale a row.
kernels::GemmInput turn_awq(Context& ctx, const ParameterInfo& info, int64_t group,
                            const ConstTensorView& qweight, const ConstTensorView& qzeros,
                            const ConstTensorView& scales, std::vector<Tensor>& owned);

}  // namespace fathom
