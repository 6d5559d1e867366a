#include "bench/inference_model.h"

#include <cmath>

#include "bench/runner.h"
#include "model/parameter_count.h"
#include "model_argument.h"
#include "prepare_weights.h"

namespace fathom::app {

InferenceModel::InferenceModel(const BenchModelOptions& options, int64_t length)
    : config(config_of(options.model)), precision(parse_precision(options.precision)) {
  if (is_stored(options.model)) {
    stored_ = StoredModel::open(options.model);
    prepare_weights(*stored_, true);
  } else {
    make_random();
  }
  model_.emplace(config, stored_ ? stored_->weights : random_->weights, length);
  count_bytes();
}

void InferenceModel::make_random() {
  const bool bf16 = precision == kernels::GemmPrecision::kBF16;
  const ParameterCount n = count_parameters(config);
  require_memory((bf16 ? 2 : 4) * static_cast<double>(n.total + n.mtp));
  random_.emplace(config, bf16 ? DType::kBF16 : DType::kF32, false);
  initialize(config, random_->weights, 1);
}

// A token looks up one row of the embedding, which is read whole only where it is the head too.
void InferenceModel::count_bytes() {
  ModelConfig main = config;
  main.num_nextn_predict_layers = 0;
  ModelWeights weights = model_->weights();
  for_each_parameter(main, weights, [&](const ParameterInfo& info, Parameter& p) {
    const auto bytes = p.quantized.values ? static_cast<double>(p.quantized.bytes())
                                          : static_cast<double>(p.weight.bytes());
    if (info.name.find(".mlp.experts.") != std::string::npos)
      expert_bytes_ += bytes;
    else if (config.tie_word_embeddings || info.name != "model.embed_tokens.weight")
      common_bytes_ += bytes;
  });
  // What a file holds for absorbed attention is read instead.
  for (const BlockWeights& layer : weights.layers) {
    const MlaWeights& w = layer.self_attn;
    if (w.absorbed_key.values)
      common_bytes_ += static_cast<double>(w.absorbed_key.bytes() + w.absorbed_value.bytes() -
                                           w.kv_b_proj.operand().bytes());
  }
}

double InferenceModel::weight_bytes(int64_t tokens) const {
  if (config.n_routed_experts == 0) return common_bytes_;
  const double chosen = static_cast<double>(config.num_experts_per_tok) /
                        static_cast<double>(config.n_routed_experts);
  return weight_bytes_of(experts() * (1 - std::pow(1 - chosen, static_cast<double>(tokens))));
}

double InferenceModel::weight_bytes_of(double read) const {
  return common_bytes_ + (read > 0 ? expert_bytes_ * read / experts() : 0);
}

double InferenceModel::experts() const {
  int64_t layers = 0;
  for (int64_t l = 0; l < config.num_hidden_layers; ++l) layers += config.is_moe_layer(l);
  return static_cast<double>(layers * config.n_routed_experts);
}

}  // namespace fathom::app
