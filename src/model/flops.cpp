#include "model/flops.h"

#include "model/parameter_count.h"

namespace fathom {
namespace {

// Multiply-adds of attention for one query over `context` keys, all heads of one layer.
double attention_macs(const ModelConfig& c, double context) {
  return context * static_cast<double>(c.num_attention_heads) *
         static_cast<double>(c.qk_head_dim() + c.v_head_dim);
}

double active_mtp_parameters(const ModelConfig& c, const ParameterCount& n) {
  const double unused =
      static_cast<double>((c.n_routed_experts - c.num_experts_per_tok) * n.expert);
  const auto depth = static_cast<double>(c.num_nextn_predict_layers);
  return static_cast<double>(n.mtp) + depth * (static_cast<double>(n.embedding) - unused);
}

}  // namespace

double training_flops_per_token(const ModelConfig& config, int64_t seq_len, bool causal,
                                bool with_mtp) {
  const ParameterCount n = count_parameters(config);
  double parameters = static_cast<double>(n.active_no_embed);
  int64_t layers = config.num_hidden_layers;
  if (with_mtp) {
    parameters += active_mtp_parameters(config, n);
    layers += config.num_nextn_predict_layers;
  }
  const double context = static_cast<double>(seq_len) * (causal ? 0.5 : 1);
  return 6 * (parameters + static_cast<double>(layers) * attention_macs(config, context));
}

double inference_flops_per_token(const ModelConfig& config, int64_t context) {
  const ParameterCount n = count_parameters(config);
  return 2 * (static_cast<double>(n.active_no_embed) +
              static_cast<double>(config.num_hidden_layers) *
                  attention_macs(config, static_cast<double>(context)));
}

double decode_bytes_per_token(const ModelConfig& config, double weight_bytes, double cache_bytes,
                              int64_t context) {
  const ParameterCount n = count_parameters(config);
  return weight_bytes * static_cast<double>(n.active_no_embed) +
         cache_bytes * static_cast<double>(config.cache_width() * config.num_hidden_layers) *
             static_cast<double>(context);
}

}  // namespace fathom
