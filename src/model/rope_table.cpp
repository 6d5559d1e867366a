#include "model/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace fathom {
namespace {

// Dimension index at which a frequency makes `rotations` turns over the original context.
double correction_dim(const ModelConfig& config, double rotations) {
  const double dim = static_cast<double>(config.qk_rope_head_dim);
  const double length = static_cast<double>(config.rope_scaling->original_max_position_embeddings);
  return dim * std::log(length / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(config.rope_theta));
}

void blend_yarn(const ModelConfig& config, std::vector<double>& freqs) {
  const YarnConfig& yarn = *config.rope_scaling;
  const double last = static_cast<double>(config.qk_rope_head_dim - 1);
  const double low = std::max(std::floor(correction_dim(config, yarn.beta_fast)), 0.0);
  double high = std::min(std::ceil(correction_dim(config, yarn.beta_slow)), last);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < freqs.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    freqs[i] = freqs[i] / yarn.factor * ramp + freqs[i] * (1 - ramp);
  }
}

double yarn_magnitude(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1;
}

// transformers scales cos and sin by the ratio of the two magnitudes, 1 when mscale and
// mscale_all_dim agree, as in every published model.
double attention_factor(const ModelConfig& config) {
  if (!config.rope_scaling) return 1;
  const YarnConfig& yarn = *config.rope_scaling;
  if (yarn.mscale == 0 || yarn.mscale_all_dim == 0) return yarn_magnitude(yarn.factor, 1);
  return yarn_magnitude(yarn.factor, yarn.mscale) /
         yarn_magnitude(yarn.factor, yarn.mscale_all_dim);
}

}  // namespace

std::vector<double> rope_frequencies(const ModelConfig& config) {
  std::vector<double> freqs(static_cast<size_t>(config.qk_rope_head_dim / 2));
  for (size_t i = 0; i < freqs.size(); ++i)
    freqs[i] = std::pow(config.rope_theta, -2.0 * static_cast<double>(i) /
                                               static_cast<double>(config.qk_rope_head_dim));
  if (config.rope_scaling) blend_yarn(config, freqs);
  return freqs;
}

RopeTable::RopeTable(const ModelConfig& config, int64_t positions)
    : cos_PI(DType::kF32, {positions, config.qk_rope_head_dim / 2}),
      sin_PI(DType::kF32, {positions, config.qk_rope_head_dim / 2}) {
  const std::vector<double> freqs = rope_frequencies(config);
  const double factor = attention_factor(config);
  float* cos = cos_PI.as<float>();
  float* sin = sin_PI.as<float>();
  for (int64_t p = 0; p < positions; ++p)
    for (const double f : freqs) {
      const double angle = static_cast<double>(p) * f;
      *cos++ = static_cast<float>(std::cos(angle) * factor);
      *sin++ = static_cast<float>(std::sin(angle) * factor);
    }
}

}  // namespace fathom
