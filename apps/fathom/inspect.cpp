#include <fmt/format.h>

#include <filesystem>

#include "checkpoint/model_io.h"
#include "model/flops.h"
#include "model/parameter_count.h"
#include "model_argument.h"
#include "options.h"
#include "report.h"

namespace fathom::app {
namespace {

std::string in_billions(int64_t n) {
  const auto x = static_cast<double>(n);
  return fmt::format("{} ({:.3g} {})", n, x >= 1e9 ? x / 1e9 : x / 1e6, x >= 1e9 ? "B" : "M");
}

std::string in_gib(double bytes) {
  return fmt::format("{:.3f} GiB", bytes / (1u << 30));
}

std::string layers_text(const ModelConfig& c) {
  return fmt::format("{} ({} dense), {} MTP", c.num_hidden_layers,
                     c.n_routed_experts > 0 ? c.first_k_dense_replace : c.num_hidden_layers,
                     c.num_nextn_predict_layers);
}

std::string attention_text(const ModelConfig& c) {
  return fmt::format("MLA, {} heads of {}+{} (v {}), latent {}+{}{}", c.num_attention_heads,
                     c.qk_nope_head_dim, c.qk_rope_head_dim, c.v_head_dim, c.kv_lora_rank,
                     c.qk_rope_head_dim,
                     c.q_lora_rank > 0 ? fmt::format(", q_lora {}", c.q_lora_rank) : "");
}

std::string experts_text(const ModelConfig& c) {
  if (c.n_routed_experts == 0) return "none";
  return fmt::format("{} routed of width {}, top {}, {} shared, {} groups of which {}",
                     c.n_routed_experts, c.moe_intermediate_size, c.num_experts_per_tok,
                     c.n_shared_experts, c.n_group, c.topk_group);
}

}  // namespace

int run_inspect(const GlobalOptions& global, const InspectArguments& options) {
  const ModelConfig config = config_of(options.model);
  const ParameterCount n = count_parameters(config);
  const bool stored = std::filesystem::is_directory(options.model);
  const double bytes =
      stored ? static_cast<double>(StoredModel::open(options.model, {.read_values = false}).bytes)
             : 2.0 * static_cast<double>(n.total + n.mtp);
  const int64_t kv = kv_bytes_per_token(config);
  Report report;
  report.add("model", options.model);
  report.add("model_type", config.model_type);
  report.add("layers", layers_text(config));
  report.add("hidden_size", config.hidden_size);
  report.add("vocab_size", config.vocab_size);
  report.add("attention", attention_text(config));
  report.add("experts", experts_text(config));
  report.add("max_position_embeddings", config.max_position_embeddings);
  report.add("parameters", n.total, in_billions(n.total));
  report.add("active_parameters", n.active, in_billions(n.active));
  report.add("mtp_parameters", n.mtp, in_billions(n.mtp));
  report.add(
      "bytes", static_cast<int64_t>(bytes),
      in_gib(bytes) + (stored ? "" : " in BF16, not counting MTP copies of embedding and head"));
  report.add("kv_bytes_per_token", kv,
             fmt::format("{:.3f} KB in BF16", static_cast<double>(kv) / 1e3));
  report.add("training_gflops_per_token", training_flops_per_token(config, 4096, true, false) / 1e9,
             fmt::format("{:.4g} GFLOP causal at 4096 tokens, without MTP",
                         training_flops_per_token(config, 4096, true, false) / 1e9));
  report.print(global.json);
  return 0;
}

}  // namespace fathom::app
