#include "checkpoint/awq.h"

#include "checkpoint/packed_int.h"
#include "checkpoint/weight_format.h"

namespace fathom {

std::string awq_name(const std::string& weight_name, const std::string& kind) {
  return weight_name.substr(0, weight_name.rfind('.') + 1) + kind;
}

kernels::GemmInput turn_awq(Context& ctx, const ParameterInfo& info, int64_t group,
                            const ConstTensorView& qweight, const ConstTensorView& qzeros,
                            const ConstTensorView& scales, std::vector<Tensor>& owned) {
  const PackedIntLayout layout{info.shape[0], info.shape[1], 4, group, !qzeros};
  std::vector<TensorView> parts;
  for (const TensorSpec& spec : layout.tensors(info.name, scales.dtype)) {
    if (spec.dtype == DType::kI64) continue;  // the shape
    owned.push_back(make_tensor(spec.dtype, spec.shape));
    parts.push_back(owned.back());
  }
  const auto matrix = layout.over(parts[0], parts[1], qzeros ? parts[2] : TensorView());
  kernels::repack_awq(ctx, qweight, qzeros, scales, matrix);
  return matrix.input(info.shape[1]);
}

}  // namespace fathom
