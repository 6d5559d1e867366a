#include "model/rounding_observer.h"

#include <algorithm>

namespace fathom {
namespace {

const char* name_of(OperandRole role) {
  switch (role) {
    case OperandRole::kInput:
      return "input";
    case OperandRole::kGradient:
      return "gradient";
    case OperandRole::kInputForWeight:
      return "input_for_weight";
    case OperandRole::kGradientForWeight:
      return "gradient_for_weight";
  }
  return "";
}

/// "….experts.7.up_proj.weight" to "….experts.up_proj.".
std::string stem(const std::string& parameter) {
  const std::string name = without_expert_number(parameter);
  return name.substr(0, name.rfind('.') + 1);
}

}  // namespace

RoundingObserver::RoundingObserver(const ModelConfig& config, const ModelWeights& weights) {
  // Only names and addresses are taken.
  ModelWeights& all = const_cast<ModelWeights&>(weights);
  for_each_parameter(config, all, [&](const ParameterInfo& info, Parameter& p) {
    name_.emplace(&p, stem(info.name));
  });
}

void RoundingObserver::observe(Context& ctx, const Parameter& w, OperandRole role,
                               const kernels::GemmInput& x, const kernels::Rounding& rounding) {
  const auto found = name_.find(&w);
  if (found == name_.end()) return;
  const kernels::RoundingStatistics s = kernels::rounding_statistics(ctx, x, rounding);
  Sum& sum = sums_[found->second + name_of(role)];
  const auto n = static_cast<double>(x.rows() * x.cols());
  sum.weighted.amax = std::max(sum.weighted.amax, s.amax);
  sum.weighted.underflow += n * s.underflow;
  sum.weighted.saturation += n * s.saturation;
  sum.values += n;
}

std::map<std::string, kernels::RoundingStatistics> RoundingObserver::take() {
  std::map<std::string, kernels::RoundingStatistics> all;
  for (const auto& [name, sum] : sums_)
    if (sum.values > 0)
      all[name] = {sum.weighted.amax, sum.weighted.underflow / sum.values,
                   sum.weighted.saturation / sum.values};
  sums_.clear();
  return all;
}

}  // namespace fathom
