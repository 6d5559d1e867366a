// Throughput of prompts: computation from the measured rates of a layer's parts, communication
// from those of the normal dispatch and combine kernels.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "cluster/flops.h"
#include "cluster/rates.h"
#include "cluster/serving.h"

namespace fathom::cluster {
namespace {

constexpr double kProfiledTokens = 4096;  // of the profile's layer: causal, one sequence

struct Work {
  double attention = 0, mlp = 0;  ///< FLOP
};

Work profiled_work() {
  const ModelShape v3 = model_shape("deepseek-v3");
  const ShapeCount n = count(v3);
  return {kProfiledTokens * (2 * n.attention + attention_flops(v3, kProfiledTokens / 2)),
          kProfiledTokens * 2 * static_cast<double>(v3.top_k + v3.shared_experts) * n.expert};
}

void check(const ModelShape& shape, const PrefillOptions& o) {
  if (!shape.is_moe() && (o.ep != 1 || o.redundant_experts != 0))
    throw Error(fmt::format("{} is dense: expert parallelism has no influence", shape.name),
                "give --ep 1 --redundant-experts 0");
  if (shape.is_moe()) (void)experts_per_gpu(shape, o.ep, o.redundant_experts);
}

void assume(const PrefillOptions& o, double seen, Worksheet& sheet) {
  sheet.assume("layout", fmt::format("attention data parallel, experts over {} GPUs", o.ep),
               "DeepSeek open-infra-index, day 6");
  sheet.assume("overlap",
               o.overlap == Overlap::kDual
                   ? "two micro-batches: the larger of communication and computation counts"
                   : "none: communication and computation add up",
               "--overlap");
  sheet.assume("keys a computed token sees", seen, "",
               fmt::format("the {} cached of {} and half of the rest",
                           o.cache_hit * static_cast<double>(o.prompt), o.prompt));
  sheet.assume("experts' load", "balanced by redundant experts", "this plan");
}

double communication(const ModelShape& shape, const Entry& gpu, const PrefillOptions& o,
                     const Rates& rates, Worksheet& sheet) {
  if (!shape.is_moe() || o.ep == 1) return 0;
  const double node = gpu.at("gpus_per_node", sheet);
  const double values = static_cast<double>(o.tokens * shape.hidden);
  const bool inside =
      gpu.has("nvlink_domain") && static_cast<double>(o.ep) <= gpu.at("nvlink_domain");
  const double copies =
      inside ? static_cast<double>(shape.top_k)
             : expected_nodes(shape, std::max(1.0, static_cast<double>(o.ep) / node));
  const double dispatch = inside ? rates.nvlink() : rates.dispatch();
  const double combine = inside ? rates.nvlink() : rates.combine();
  const double seconds =
      values * copies * (o.dispatch_bytes / dispatch + o.combine_bytes / combine);
  return sheet.result("layer_communication_s", seconds, "s",
                      fmt::format("{} tokens x {} values x {:.4g} copies x ({} bytes / {:.4g} + {} "
                                  "bytes / {:.4g} bytes/s)",
                                  o.tokens, shape.hidden, copies, o.dispatch_bytes, dispatch,
                                  o.combine_bytes, combine));
}

}  // namespace

PrefillPlan plan_prefill(const ModelShape& shape, const Entry& gpu, const PrefillOptions& options,
                         Worksheet& sheet) {
  check(shape, options);
  sheet.fact("model", shape.name);
  sheet.fact("hardware", gpu.name());
  const Rates rates(gpu, sheet);
  const ShapeCount n = count(shape);
  const Work profiled = profiled_work();
  const auto tokens = static_cast<double>(options.tokens);
  const double fresh = 1 - options.cache_hit;
  const double seen = static_cast<double>(options.prompt) * (options.cache_hit + fresh / 2);
  assume(options, seen, sheet);
  const double attention_work = tokens * (2 * n.attention + attention_flops(shape, seen));
  const double moe_work =
      tokens * 2 * static_cast<double>(shape.top_k + shape.shared_experts) * n.expert;
  const double attention = sheet.result(
      "layer_attention_s",
      rates.profiled("profile_attention_forward_ms", attention_work / profiled.attention), "s",
      fmt::format("{:.4g} FLOP at the rate of the profiled layer's {:.4g}", attention_work,
                  profiled.attention));
  const double experts = sheet.result(
      "layer_experts_s", rates.profiled("profile_mlp_forward_ms", moe_work / profiled.mlp), "s",
      fmt::format("{:.4g} FLOP at the rate of the profiled layer's {:.4g}", moe_work,
                  profiled.mlp));
  PrefillPlan plan;
  plan.communication = communication(shape, gpu, options, rates, sheet);
  plan.computation = attention + experts;
  const double moe_layer = options.overlap == Overlap::kDual
                               ? std::max(plan.communication, plan.computation)
                               : plan.communication + plan.computation;
  const double dense_layer =
      attention + rates.profiled("profile_mlp_forward_ms", tokens * 2 * n.dense_ffn / profiled.mlp);
  const auto moe = static_cast<double>(shape.moe_layers());
  plan.pass = sheet.result(
      "pass_s", moe * moe_layer + (static_cast<double>(shape.layers) - moe) * dense_layer, "s",
      fmt::format("{} MoE layers x {:.4g} s + {} dense layers x {:.4g} s", moe, moe_layer,
                  static_cast<double>(shape.layers) - moe, dense_layer));
  const double node = gpu.at("gpus_per_node", sheet);
  plan.computed_tokens_per_s_node =
      sheet.result("computed_tokens_per_s_node", node * tokens / plan.pass, "tokens/s",
                   fmt::format("{} GPUs x {} tokens / {:.4g} s", node, tokens, plan.pass));
  plan.tokens_per_s_node = sheet.result(
      "tokens_per_s_node", plan.computed_tokens_per_s_node / fresh, "tokens/s",
      fmt::format("computed tokens / (1 - {} of them found in the cache)", options.cache_hit));
  if (options.decode_tokens_per_s_node && options.output_tokens)
    plan.prefill_nodes_per_decode_node = sheet.result(
        "prefill_nodes_per_decode_node",
        static_cast<double>(options.prompt) / plan.tokens_per_s_node *
            *options.decode_tokens_per_s_node / static_cast<double>(*options.output_tokens),
        "",
        fmt::format("({} prompt tokens / {:.6g}) / ({} output tokens / {:.6g})", options.prompt,
                    plan.tokens_per_s_node, *options.output_tokens,
                    *options.decode_tokens_per_s_node));
  return plan;
}

}  // namespace fathom::cluster
