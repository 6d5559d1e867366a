#include "train/balance.h"

#include <algorithm>
#include <numeric>

namespace fathom::train {
namespace {

double mean_load(const std::vector<int64_t>& load) {
  return static_cast<double>(std::accumulate(load.begin(), load.end(), int64_t{0})) /
         static_cast<double>(load.size());
}

void update_layer(MoeWeights& moe, const std::vector<int64_t>& load, float speed) {
  const TensorView& bias = moe.e_score_correction_bias.weight;
  if (!bias) return;
  const double mean = mean_load(load);
  for (size_t e = 0; e < load.size(); ++e) {
    const auto n = static_cast<double>(load[e]);
    if (n != mean) bias.as<float>()[e] += n < mean ? speed : -speed;
  }
}

}  // namespace

void update_correction_bias(ModelWeights& weights, const ExpertLoads& loads, float speed) {
  if (speed == 0 || loads.empty()) return;
  size_t layer = 0;
  for (BlockWeights& b : weights.layers)
    if (b.moe) update_layer(*b.moe, loads[layer++], speed);
  for (MtpWeights& m : weights.mtp)  // absent from loads while the MTP loss is off
    if (m.block.moe && layer < loads.size()) update_layer(*m.block.moe, loads[layer++], speed);
}

double max_violation(const ExpertLoads& loads) {
  if (loads.empty()) return 0;
  double total = 0;
  for (const std::vector<int64_t>& load : loads) {
    const double mean = mean_load(load);
    const auto largest = static_cast<double>(*std::max_element(load.begin(), load.end()));
    if (mean > 0) total += (largest - mean) / mean;
  }
  return total / static_cast<double>(loads.size());
}

}  // namespace fathom::train
