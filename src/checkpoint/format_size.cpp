#include "checkpoint/format_size.h"

#include "checkpoint/mtp_layers.h"

namespace fathom {

FormatSize format_size(const ModelConfig& config, const WeightFormat& format) {
  FormatSize size;
  const double chosen = config.n_routed_experts > 0
                            ? static_cast<double>(config.num_experts_per_tok) /
                                  static_cast<double>(config.n_routed_experts)
                            : 0;
  ModelWeights scratch;
  for_each_parameter(config, scratch, [&](const ParameterInfo& info, Parameter&) {
    uint64_t bytes = 0;
    for (const TensorSpec& spec : tensors_of(format, info, info.name)) bytes += spec.bytes();
    size.bytes += bytes;
    const bool looked_up = info.name == "model.embed_tokens.weight" && !config.tie_word_embeddings;
    if (looked_up || is_mtp_name(config, info.name)) return;
    const bool routed = info.name.find(".mlp.experts.") != std::string::npos;
    size.bytes_per_token += static_cast<double>(bytes) * (routed ? chosen : 1);
  });
  return size;
}

}  // namespace fathom
