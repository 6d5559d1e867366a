// fathom plan decode and prefill.
#include <fmt/format.h>

#include <optional>

#include "base/error.h"
#include "cluster/picture.h"
#include "cluster/serving.h"
#include "plan.h"

namespace fathom::app {
namespace {

// Settings of exchanges that there are none of are refused. `options`: decoding's or prefill's.
template <class Options>
void apply(const PlanExchangeArguments& given, const cluster::ModelShape& shape, int64_t ep,
           Options& options) {
  const auto set = [&](const char* name, const auto& from, auto& to) {
    if (!from) return;
    check_sends_to_experts(name, shape, ep);
    to = *from;
  };
  std::optional<cluster::Overlap> overlap;
  if (given.overlap)
    overlap = *given.overlap == "dual" ? cluster::Overlap::kDual : cluster::Overlap::kNone;
  set("--overlap", overlap, options.overlap);
  set("--dispatch-bytes", given.dispatch_bytes, options.dispatch_bytes);
  set("--combine-bytes", given.combine_bytes, options.combine_bytes);
  set("--expert-imbalance", given.expert_imbalance, options.expert_imbalance);
}

cluster::DecodeOptions decode_options(const PlanDecodeArguments& o,
                                      const cluster::ModelShape& shape) {
  cluster::DecodeOptions d;
  d.ep = o.ep;
  d.redundant_experts = o.redundant;
  d.context = o.context;
  d.batch = o.batch;
  if (o.user_tokens_per_s) d.user_tokens_per_s = *o.user_tokens_per_s;
  d.kv_bits = o.kv_bits;
  d.mtp_acceptance = o.mtp_acceptance;
  apply(o.exchange, shape, o.ep, d);
  return d;
}

cluster::NetworkLimitOptions limit_options(const PlanDecodeArguments& o) {
  cluster::NetworkLimitOptions limit;
  limit.tokens = o.tokens;
  limit.dispatch_bytes = o.exchange.dispatch_bytes.value_or(limit.dispatch_bytes);
  limit.combine_bytes = o.exchange.combine_bytes.value_or(limit.combine_bytes);
  limit.nvlink = o.fabric == "nvlink";
  return limit;
}

std::string title_of(const char* what, const PlanInput& input) {
  return fmt::format("{}: a layer of {} on {}", what, input.model().name, input.gpu().id());
}

}  // namespace

int run_plan_decode(const GlobalOptions& global, const PlanDecodeArguments& options) {
  const PlanInput input(options.plan);
  cluster::Worksheet sheet;
  cluster::LayerTimeline layer;
  if (options.network_limit)
    plan_network_limit(input.model(), input.gpu(), limit_options(options), sheet);
  else
    layer = plan_decode(input.model(), input.gpu(), decode_options(options, input.model()), sheet)
                .layer;
  input.check_used();
  draw(options.plan.svg, draw_layer(layer, title_of("decoding", input)));
  print(sheet, global, options.plan.explain);
  return 0;
}

int run_plan_prefill(const GlobalOptions& global, const PlanPrefillArguments& options) {
  const PlanInput input(options.plan);
  cluster::Worksheet sheet;
  cluster::PrefillOptions p;
  p.ep = options.ep;
  p.redundant_experts = options.redundant;
  p.tokens = options.tokens;
  p.prompt = options.prompt;
  p.cache_hit = options.cache_hit;
  p.length_spread = options.length_spread;
  apply(options.exchange, input.model(), options.ep, p);
  p.decode_tokens_per_s_node = options.decode_tokens_per_s_node;
  p.output_tokens = options.output_tokens;
  const cluster::PrefillPlan plan = plan_prefill(input.model(), input.gpu(), p, sheet);
  input.check_used();
  draw(options.plan.svg, draw_layer(plan.layer, title_of("prefill", input)));
  print(sheet, global, options.plan.explain);
  return 0;
}

}  // namespace fathom::app
