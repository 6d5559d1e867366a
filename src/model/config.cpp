#include "model/config.h"

#include <cmath>

namespace fathom {
namespace {

kernels::GateSelection selection(const ModelConfig& config) {
  if (config.n_group == 1) return kernels::GateSelection::kGreedy;
  switch (config.topk_method) {
    case ModelConfig::TopkMethod::kGreedy:
      return kernels::GateSelection::kGreedy;
    case ModelConfig::TopkMethod::kGroupLimitedGreedy:
      return kernels::GateSelection::kGroupMax;
    case ModelConfig::TopkMethod::kNoauxTc:
      return kernels::GateSelection::kGroupTop2;
  }
  FATHOM_ASSERT(false);
  return {};
}

}  // namespace

kernels::GateConfig ModelConfig::gate() const {
  return {.experts = n_routed_experts,
          .top_k = num_experts_per_tok,
          .groups = n_group,
          .topk_groups = topk_group,
          .scoring = scoring_func,
          .selection = selection(*this),
          .normalize = norm_topk_prob,
          .scaling_factor = static_cast<float>(routed_scaling_factor)};
}

float ModelConfig::softmax_scale() const {
  double scale = 1 / std::sqrt(static_cast<double>(qk_head_dim()));
  if (rope_scaling && rope_scaling->mscale_all_dim != 0 && rope_scaling->factor > 1) {
    const double m = 0.1 * rope_scaling->mscale_all_dim * std::log(rope_scaling->factor) + 1;
    scale *= m * m;
  }
  return static_cast<float>(scale);
}

}  // namespace fathom
