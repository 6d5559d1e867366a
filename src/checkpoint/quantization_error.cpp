#include "checkpoint/quantization_error.h"

#include <charconv>
#include <cmath>

#include "kernels/elementwise.h"
#include "kernels/stored_weights.h"

namespace fathom {
namespace {

// "model.layers.3.mlp.experts.17.up_proj.weight" gives 3 and "experts.up_proj".
std::pair<int64_t, std::string> place_of(const std::string& name) {
  constexpr std::string_view kPrefix = "model.layers.";
  FATHOM_ASSERT(name.starts_with(kPrefix));
  int64_t layer = 0;
  const char* begin = name.data() + kPrefix.size();
  std::from_chars(begin, name.data() + name.size(), layer);
  const std::string module = name.substr(0, name.size() - std::string_view(".weight").size());
  const std::string last = module.substr(module.rfind('.') + 1);
  if (module.find(".mlp.experts.") != std::string::npos) return {layer, "experts." + last};
  if (module.find(".shared_experts.") != std::string::npos)
    return {layer, "shared_experts." + last};
  return {layer, last};
}

double root_of_ratio(double error, double value) {
  return value > 0 ? std::sqrt(error / value) : 0;
}

}  // namespace

void QuantizationError::add(Context& ctx, const ParameterInfo& info, ConstTensorView values,
                            const Parameter& stored) {
  const Tensor difference(DType::kF32, {values.rows(), values.cols()});
  kernels::decode_weights(ctx, stored.operand(), difference);
  kernels::add_scaled(ctx, -1, values, difference);
  Sums& sums = sums_[place_of(info.name)];
  sums.error += kernels::sum_of_squares(ctx, difference);
  sums.value += kernels::sum_of_squares(ctx, values);
}

std::vector<QuantizationError::Entry> QuantizationError::entries() const {
  std::vector<Entry> list;
  for (const auto& [place, sums] : sums_)
    list.push_back({place.first, place.second, root_of_ratio(sums.error, sums.value)});
  return list;
}

double QuantizationError::total() const {
  Sums all;
  for (const auto& [place, sums] : sums_) {
    all.error += sums.error;
    all.value += sums.value;
  }
  return root_of_ratio(all.error, all.value);
}

}  // namespace fathom
