#include <fmt/format.h>

#include <filesystem>

#include "checkpoint/format_size.h"
#include "checkpoint/model_io.h"
#include "model/flops.h"
#include "model/fp8_recipe.h"
#include "model/kept_memory.h"
#include "model/parameter_count.h"
#include "model_argument.h"
#include "options.h"
#include "report.h"
#include "session.h"

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

/// Layers that keep the same, once.
struct LayerKind {
  std::string name;
  int64_t layer, count;
};

std::vector<LayerKind> layer_kinds(const ModelConfig& c) {
  std::vector<LayerKind> kinds;
  int64_t moe = 0, first_moe = 0;
  for (int64_t l = c.num_hidden_layers; l-- > 0;)
    if (c.is_moe_layer(l)) ++moe, first_moe = l;
  if (const int64_t dense = c.num_hidden_layers - moe; dense > 0)
    kinds.push_back({"dense_layer", 0, dense});
  if (moe > 0) kinds.push_back({"moe_layer", first_moe, moe});
  if (c.num_nextn_predict_layers > 0)
    kinds.push_back({"mtp_layer", c.num_hidden_layers, c.num_nextn_predict_layers});
  return kinds;
}

Report kept_report(const std::vector<KeptTensor>& tensors, int64_t count) {
  Report report;
  report.add("layers", count);
  const double sum = bytes_per_token(tensors);
  report.add("bytes_per_token", sum, fmt::format("{:.0f} B a layer", sum));
  for (const KeptTensor& t : tensors)
    report.add(t.name, t.bytes_per_token, fmt::format("{:.0f} B, {}", t.bytes_per_token, t.format));
  return report;
}

/// What the run as a whole holds, besides the text: master weights, gradients, moments in BF16.
void add_model_memory(Report& report, const ParameterCount& n, bool fp8) {
  const auto parameters = static_cast<double>(n.total + n.mtp);
  const auto add = [&](const char* key, double bytes_each) {
    report.add(key, parameters * bytes_each, in_gib(parameters * bytes_each));
  };
  add("master_weights_bytes", 4);
  add("gradients_bytes", 4);
  add("moments_bytes", 4);
  if (fp8) {
    // Embedding and head have no copies; scales are one F32 in 16,384.
    const double linear = parameters - 2 * static_cast<double>(n.embedding);
    report.add("fp8_weights_bytes", linear, in_gib(linear) + ", at most");
  }
}

Report training_memory(const ModelConfig& config, const ParameterCount& n,
                       const InspectArguments& o) {
  const Fp8Recipe recipe;
  PassOptions options = parse_precision(o.precision);
  if (o.precision == "fp8") options.fp8 = &recipe;
  options.recompute = o.recompute || options.fp8;
  Report report;
  report.add("precision", o.precision + (options.recompute ? ", recomputing" : ""));
  add_model_memory(report, n, options.fp8 != nullptr);
  report.add("kept_by_the_pass", kept_report(kept_by_pass(config, options), 1));
  for (const LayerKind& kind : layer_kinds(config))
    report.add(kind.name,
               kept_report(kept_by_layer(config, kind.layer, options, true), kind.count));
  if (config.num_nextn_predict_layers > 0)
    report.add("mtp_besides_its_layer",
               kept_report(kept_by_mtp(config, options), config.num_nextn_predict_layers));
  const double per_token = kept_bytes_per_token(config, options, true);
  const double bytes = per_token * static_cast<double>(o.batch_tokens);
  report.add("activation_bytes_per_token", per_token, fmt::format("{:.1f} KB", per_token / 1e3));
  report.add("activation_bytes", bytes,
             fmt::format("{} for {} tokens", in_gib(bytes), o.batch_tokens));
  return report;
}

// What the shape takes in each format that `quantize` writes, and the speed that follows at a round
// bandwidth: that of another machine is in proportion.
std::vector<Report> format_reports(const ModelConfig& config) {
  constexpr double kBandwidth = 100e9;
  const std::pair<const char*, WeightFormat> formats[] = {
      {"bf16", DType::kBF16},
      {"fp8", DType::kE4M3},
      {"int8", WeightFormat::integers(8, 128, true)},
      {"int4", WeightFormat::integers(4, 128, true)}};
  std::vector<Report> list;
  for (const auto& [name, format] : formats) {
    const FormatSize size = format_size(config, format);
    const auto bytes = static_cast<double>(size.bytes);
    const double rate = kBandwidth / size.bytes_per_token;
    Report r;
    r.add("format", name);
    r.add("bytes", static_cast<int64_t>(size.bytes), in_gib(bytes));
    r.add("bytes_per_token", size.bytes_per_token,
          fmt::format("{:.3f} GB", size.bytes_per_token / 1e9));
    r.add("tokens_per_s_at_100_gb_s", rate, fmt::format("{:.1f}", rate));
    list.push_back(std::move(r));
  }
  return list;
}

}  // namespace

int run_inspect(const GlobalOptions& global, const InspectArguments& options) {
  const ModelConfig config = config_of(options.model);
  const ParameterCount n = count_parameters(config);
  const bool stored = is_stored(options.model);
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
  if (options.training) report.add("training", training_memory(config, n, options));
  report.add("formats", format_reports(config));
  report.print(global.json);
  return 0;
}

}  // namespace fathom::app
