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

// Seconds of a layer's parts for one micro-batch.
struct Parts {
  double attention = 0, shared = 0, experts = 0;
  double dispatch = 0, combine = 0;
  double computation() const { return attention + shared + experts; }
  double communication() const { return dispatch + combine; }
};

// The published pipeline of two micro-batches, in which each part of one runs beside an exchange of
// the other; or one micro-batch alone.
LayerTimeline timeline(const Parts& p, Overlap overlap) {
  LayerTimeline t;
  if (overlap == Overlap::kNone) {
    t.step({{"attention", 0, p.attention}});
    t.step({}, {"dispatch", 0, p.dispatch});
    t.step({{"experts", 0, p.experts}, {"shared", 0, p.shared}});
    t.step({}, {"combine", 0, p.combine});
    return t;
  }
  t.step({{"attention", 1, p.attention}, {"shared", 0, p.shared}}, {"combine", 0, p.combine});
  t.step({{"attention", 0, p.attention}}, {"dispatch", 1, p.dispatch});
  t.step({{"experts", 1, p.experts}}, {"dispatch", 0, p.dispatch});
  t.step({{"experts", 0, p.experts}, {"shared", 1, p.shared}}, {"combine", 1, p.combine});
  return t;
}

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

void assume_exchanges(const PrefillOptions& o, Worksheet& sheet) {
  const bool dual = o.overlap == Overlap::kDual;
  sheet.assume("overlap",
               dual ? "two micro-batches, each part of one beside an exchange of the other"
                    : "none: communication and computation add up",
               dual ? "DeepSeek profile-data, picture of prefill" : "--overlap");
  sheet.assume("busiest GPU's experts", fmt::format("{} times the mean", o.expert_imbalance),
               "--expert-imbalance");
}

void assume(const PrefillOptions& o, double seen, Worksheet& sheet) {
  sheet.assume("layout", fmt::format("attention data parallel, experts over {} GPUs", o.ep),
               "DeepSeek open-infra-index, day 6");
  if (o.ep > 1) assume_exchanges(o, sheet);
  sheet.assume(
      "prompts' length",
      fmt::format("{} tokens on average, standard deviation {} of that", o.prompt, o.length_spread),
      "--prompt, --length-spread: a spread of 1 is an exponential distribution");
  sheet.assume("keys a computed token sees", seen, "",
               fmt::format("{} x (1 + {}^2) x (the {} found in the cache and half of the rest)",
                           o.prompt, o.length_spread, o.cache_hit));
}

// Computation has fewer SMs to run on than in the training profile, whose times it takes.
double slowed_by_exchanges(const Entry& gpu, const PrefillOptions& o, Worksheet& sheet) {
  if (o.overlap == Overlap::kNone || o.ep == 1) return 1;
  if (!gpu.has("sms") || !gpu.has("prefill_comm_sms")) return 1;
  const double sms = gpu.at("sms", sheet);
  return (sms - gpu.at("comm_sms", sheet)) / (sms - gpu.at("prefill_comm_sms", sheet));
}

double attention_seconds(const ModelShape& shape, double tokens, double seen, const Rates& rates,
                         Worksheet& sheet) {
  const double work = tokens * (2 * count(shape).attention + attention_flops(shape, seen));
  const double profiled = profiled_work().attention;
  const double gaps = rates.kernel_gaps("profile_attention_head_kernels") +
                      rates.kernel_gaps("profile_attention_tail_kernels");
  return sheet.result("layer_attention_s",
                      rates.profiled("profile_attention_forward_ms", work / profiled) + gaps, "s",
                      fmt::format("{:.4g} FLOP at the rate of the profiled layer's {:.4g}, and "
                                  "{:.3g} s between kernels",
                                  work, profiled, gaps));
}

// Time of feed-forward work at the rate of the profiled layer's.
double mlp_seconds(double work, const Rates& rates) {
  return rates.profiled("profile_mlp_forward_ms", work / profiled_work().mlp);
}

Parts parts_of(const ModelShape& shape, const Entry& gpu, const PrefillOptions& o, double seen,
               const Rates& rates, Worksheet& sheet) {
  const auto tokens = static_cast<double>(o.tokens);
  const double each = tokens * 2 * count(shape).expert;
  const double slowed = slowed_by_exchanges(gpu, o, sheet);
  const double imbalance = o.ep > 1 ? o.expert_imbalance : 1;
  Parts p;
  p.attention = slowed * attention_seconds(shape, tokens, seen, rates, sheet);
  if (!shape.is_moe()) return p;
  p.shared = slowed * mlp_seconds(each * static_cast<double>(shape.shared_experts), rates);
  p.experts = slowed * (mlp_seconds(imbalance * each * static_cast<double>(shape.top_k), rates) +
                        rates.kernel_gaps("profile_mlp_kernels"));
  const Exchange exchange =
      exchange_alone(shape, gpu, rates, tokens, o.ep, o.dispatch_bytes, o.combine_bytes);
  p.dispatch = imbalance * exchange.dispatch;
  p.combine = imbalance * exchange.combine;
  sheet.result("layer_shared_s", p.shared, "s",
               fmt::format("{} shared experts at the rate of the profiled layer's MLP",
                           shape.shared_experts));
  sheet.result("layer_experts_s", p.experts, "s",
               fmt::format("{} x {} experts at the rate of the profiled layer's MLP, on {:.4g} of "
                           "its SMs",
                           imbalance, shape.top_k, 1 / slowed));
  if (o.ep > 1)
    sheet.result("layer_communication_s", p.communication(), "s",
                 fmt::format("{} x {}", imbalance, exchange.formula));
  return p;
}

}  // namespace

PrefillPlan plan_prefill(const ModelShape& shape, const Entry& gpu, const PrefillOptions& options,
                         Worksheet& sheet) {
  check(shape, options);
  sheet.fact("model", shape.name);
  sheet.fact("hardware", gpu.name());
  const Rates rates(gpu, sheet);
  const auto tokens = static_cast<double>(options.tokens);
  const double fresh = 1 - options.cache_hit;
  const double seen = static_cast<double>(options.prompt) *
                      (1 + options.length_spread * options.length_spread) *
                      (options.cache_hit + fresh / 2);
  assume(options, seen, sheet);
  const Parts parts = parts_of(shape, gpu, options, seen, rates, sheet);
  PrefillPlan plan;
  plan.communication = parts.communication();
  plan.computation = parts.computation();
  plan.layer = timeline(parts, options.overlap);
  const double moe_layer = plan.layer.end() / (options.overlap == Overlap::kDual ? 2 : 1);
  const double dense_layer =
      parts.attention + mlp_seconds(tokens * 2 * count(shape).dense_ffn, rates);
  const auto moe = static_cast<double>(shape.moe_layers());
  plan.pass = sheet.result(
      "pass_s", moe * moe_layer + (static_cast<double>(shape.layers) - moe) * dense_layer, "s",
      fmt::format("{} MoE layers x {:.4g} s{} + {} dense layers x {:.4g} s", moe, moe_layer,
                  options.overlap == Overlap::kDual
                      ? " (half of max(attention + shared, combine) + max(attention, dispatch) + "
                        "max(experts, dispatch) + max(experts + shared, combine))"
                      : "",
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
