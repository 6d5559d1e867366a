// fathom plan decode and prefill.
#include <fmt/format.h>

#include "base/error.h"
#include "cluster/picture.h"
#include "cluster/serving.h"
#include "plan.h"

namespace fathom::app {
namespace {

cluster::Overlap overlap_of(const std::string& name) {
  return name == "dual" ? cluster::Overlap::kDual : cluster::Overlap::kNone;
}

cluster::DecodeOptions decode_options(const PlanDecodeArguments& o) {
  cluster::DecodeOptions d;
  d.ep = o.ep;
  d.redundant_experts = o.redundant;
  d.context = o.context;
  d.batch = o.batch;
  if (o.user_tokens_per_s) d.user_tokens_per_s = *o.user_tokens_per_s;
  d.overlap = overlap_of(o.overlap);
  d.dispatch_bytes = o.dispatch_bytes;
  d.combine_bytes = o.combine_bytes;
  d.kv_bits = o.kv_bits;
  d.mtp_acceptance = o.mtp_acceptance;
  d.expert_imbalance = o.expert_imbalance;
  return d;
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
    plan_network_limit(
        input.model(), input.gpu(),
        {options.tokens, options.dispatch_bytes, options.combine_bytes, options.fabric == "nvlink"},
        sheet);
  else
    layer = plan_decode(input.model(), input.gpu(), decode_options(options), sheet).layer;
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
  p.expert_imbalance = options.expert_imbalance;
  p.overlap = overlap_of(options.overlap);
  p.dispatch_bytes = options.dispatch_bytes;
  p.combine_bytes = options.combine_bytes;
  p.decode_tokens_per_s_node = options.decode_tokens_per_s_node;
  p.output_tokens = options.output_tokens;
  const cluster::PrefillPlan plan = plan_prefill(input.model(), input.gpu(), p, sheet);
  input.check_used();
  draw(options.plan.svg, draw_layer(plan.layer, title_of("prefill", input)));
  print(sheet, global, options.plan.explain);
  return 0;
}

}  // namespace fathom::app
