#include "cluster/operator_times.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "cluster/flops.h"

namespace fathom::cluster {
namespace {

constexpr double kProfiledTokens = 4096, kProfiledNodes = 8;  // causal, one sequence, EP64
constexpr double kDispatchBytes = 1, kCombineBytes = 2;       // FP8 and BF16, both directions

// Work of a layer for a micro-batch on the GPU with the busiest experts, in FLOP and in
// bytes x nodes; a scale of measured times.
struct Work {
  double attention = 0;         ///< projections, scores and values
  double attention_weight = 0;  ///< projections alone
  double mlp = 0;
  double exchange = 0;  ///< values sent across nodes
};

// Experts' worth of work a token: the routed ones, of which the busiest GPU has more than the
// mean, and the shared ones, of which all GPUs have the same.
double experts_of(const ModelShape& shape, double imbalance) {
  return imbalance * static_cast<double>(shape.top_k) + static_cast<double>(shape.shared_experts);
}

Work work_of(const ModelShape& shape, bool moe_layer, double tokens, double seq_len, double nodes,
             double imbalance) {
  const ShapeCount n = count(shape);
  const double linear = tokens * 2 * n.attention;
  const double sent = tokens * static_cast<double>(shape.hidden) * expected_nodes(shape, nodes);
  return {linear + tokens * attention_flops(shape, seq_len / 2), linear,
          tokens * 2 * (moe_layer ? experts_of(shape, imbalance) * n.expert : n.dense_ffn),
          moe_layer ? imbalance * sent : 0};
}

const Work& profiled_work() {
  static const Work work =
      work_of(model_shape("deepseek-v3"), true, kProfiledTokens, kProfiledTokens, kProfiledNodes,
              1);  // "an absolutely balanced MoE routing strategy" (profile-data, README)
  return work;
}

// Two all-reduces a layer and direction when attention and FFN are cut by TP; nothing hides them.
double tensor_parallel_seconds(const ModelShape& shape, const Layout& l, const Rates& rates) {
  if (l.tp == 1) return 0;
  const auto tp = static_cast<double>(l.tp);
  const double bytes = 2 * l.micro_batch_tokens() * static_cast<double>(shape.hidden);
  return 2 * 2 * bytes * (tp - 1) / tp / rates.nvlink();
}

double exchange_seconds(const Layout& l, const Entry& gpu, const Rates& rates, double work,
                        std::initializer_list<const char*> keys) {
  double seconds = 0;
  for (const char* key : keys) seconds += rates.profiled_network(key, work);
  const bool inside =
      gpu.has("nvlink_domain") && static_cast<double>(l.ep) <= gpu.at("nvlink_domain");
  return inside ? seconds * rates.nic() / rates.nvlink() : seconds;
}

// Seconds of a layer for one micro-batch.
struct Parts {
  double forward = 0, backward = 0, weight = 0;  ///< computing
  double beside = 0;                             ///< exchanges of both directions in a pair
  double alone = 0;                              ///< of one direction outside of it
  double tensor = 0;                             ///< all-reduces of one direction
  double computing() const { return forward + backward + weight; }
};

void add_exchanges(Parts& parts, const ModelShape& shape, const Layout& l, const Entry& gpu,
                   const Rates& rates, double tokens, double work, double imbalance) {
  parts.beside = exchange_seconds(l, gpu, rates, work,
                                  {"profile_dispatch_forward_ms", "profile_combine_forward_ms",
                                   "profile_dispatch_backward_ms", "profile_combine_backward_ms"});
  parts.alone =
      imbalance *
      exchange_alone(shape, gpu, rates, tokens, l.ep, kDispatchBytes, kCombineBytes).total();
}

Parts parts_of(const ModelShape& shape, bool moe_layer, const Layout& l, const Entry& gpu,
               const Rates& rates, double imbalance) {
  const double tokens = l.micro_batch_tokens() / static_cast<double>(l.tp);
  const double nodes = std::max(1.0, static_cast<double>(l.ep) / gpu.at("gpus_per_node"));
  const Work work =
      work_of(shape, moe_layer, tokens, static_cast<double>(l.seq_len), nodes, imbalance);
  const Work& base = profiled_work();
  const auto both = [&](const char* attention, double of_attention, const char* mlp) {
    return rates.profiled(attention, of_attention) + rates.profiled(mlp, work.mlp / base.mlp);
  };
  const double attention = work.attention / base.attention;
  Parts p;
  p.forward = both("profile_attention_forward_ms", attention, "profile_mlp_forward_ms");
  p.backward = both("profile_attention_backward_ms", attention, "profile_mlp_backward_ms");
  p.weight = both("profile_attention_weight_ms", work.attention_weight / base.attention_weight,
                  "profile_mlp_weight_ms");
  if (moe_layer && l.ep > 1)
    add_exchanges(p, shape, l, gpu, rates, tokens, work.exchange / base.exchange, imbalance);
  p.tensor = tensor_parallel_seconds(shape, l, rates);
  return p;
}

LayerTimes times_of(const Parts& p, const Rates& rates) {
  const double communication = p.alone + p.tensor;
  return {p.forward + communication, p.backward + communication, p.weight,
          std::max(p.computing() * rates.overlap_overhead(), p.beside) + 2 * p.tensor};
}

struct Units {
  double layers = 0, heads = 0;
};

// What the mean GPU does in a step, in layers and passes through a head, by phase.
struct PhaseUnits {
  Units forward, backward, weight, overlapped;
};

void add(Units& units, const Stage& stage, double share) {
  units.layers += share * static_cast<double>(stage.layers());
  units.heads += share * static_cast<double>(stage.heads);
}

PhaseUnits units_of(const dist::Schedule& schedule, const std::vector<Stage>& stages) {
  PhaseUnits u;
  const double share = 1 / static_cast<double>(schedule.ranks.size());
  const auto at = [&](const dist::Chunk& c) { return stages[static_cast<size_t>(c.stage)]; };
  for (const auto& list : schedule.ranks)
    for (const dist::Operation& op : list) {
      if (op.kind == dist::OperationKind::kOverlapped) {
        add(u.overlapped, at(op.forward), share / 2);
        add(u.overlapped, at(op.backward), share / 2);
        continue;
      }
      if (runs_forward(op.kind)) add(u.forward, at(op.forward), share);
      if (runs_backward_input(op.kind)) add(u.backward, at(op.backward), share);
      if (runs_backward_weight(op.kind)) add(u.weight, at(op.backward), share);
    }
  return u;
}

// A layer's time that makes `units` take `seconds`, a head's pass being known.
double layer_from(const char* phase, double seconds, const Units& units, double head) {
  if (units.layers == 0) {
    if (seconds == 0) return 0;
    throw UsageError(fmt::format("--phases {}: the schedule has no such operations", phase),
                     fmt::format("give {}=0", phase));
  }
  const double left = seconds - units.heads * head;
  if (left <= 0)
    throw UsageError(fmt::format("--phases {}={} s: the output head alone takes {:.4g} s", phase,
                                 seconds, units.heads * head),
                     "give more");
  return left / units.layers;
}

LayerTimes from_published(const PhaseTimes& p, const PhaseUnits& u, double head) {
  return {layer_from("1F", p.forward, u.forward, head),
          layer_from("1B", p.backward, u.backward, head),
          layer_from("1W", p.weight, u.weight, head),
          layer_from("1F1B", p.overlapped, u.overlapped, 3 * head)};
}

void add(dist::StageTimes& times, const LayerTimes& layer, double count) {
  times.forward += count * layer.forward;
  times.backward_input += count * layer.backward;
  times.backward_weight += count * layer.weight;
  times.overlapped += count * layer.overlapped;
}

void explain_moe_layer(const ModelShape& shape, const Parts& parts, const Rates& rates,
                       double imbalance, bool pairs, Worksheet& sheet) {
  const LayerTimes t = times_of(parts, rates);
  const auto with_tensor = [&](std::string formula, double tensor) {
    return tensor > 0 ? fmt::format("{} + {:.4g} s all-reduces", formula, tensor) : formula;
  };
  sheet.result(
      "moe_layer_forward_s", t.forward, "s",
      with_tensor(
          fmt::format("{:.4g} s computing, of experts {} x {} routed + {} shared, + {:.4g} "
                      "s exchanges",
                      parts.forward, imbalance, shape.top_k, shape.shared_experts, parts.alone),
          parts.tensor));
  if (!pairs) return;
  sheet.result("moe_layer_pair_s", t.overlapped, "s",
               with_tensor(fmt::format("max({:.4g} x {:.4g} s computing, {:.4g} s exchanges)",
                                       rates.overlap_overhead(), parts.computing(), parts.beside),
                           2 * parts.tensor));
}

}  // namespace

double head_pass_seconds(const ModelShape& shape, const Layout& l, const Entry& gpu,
                         const Rates& rates, Worksheet& sheet) {
  const double tokens = l.micro_batch_tokens() / static_cast<double>(l.tp);
  const double sms = gpu.has("sms") ? gpu.at("sms", sheet) : 1;
  const double left = gpu.has("sms") ? sms - gpu.at("comm_sms", sheet) : 1;
  const double gemm = 2 * tokens * count(shape).embedding / (rates.gemm_bf16() * left / sms);
  const double logits = 8 * tokens * static_cast<double>(shape.vocab) / rates.memory();
  return gemm + logits;
}

LayerTimes layer_times(const ModelShape& shape, bool moe_layer, const Layout& l, const Entry& gpu,
                       const Rates& rates, double imbalance) {
  return times_of(parts_of(shape, moe_layer, l, gpu, rates, imbalance), rates);
}

double message_seconds(const ModelShape& shape, const Layout& l, const Rates& rates) {
  if (l.pp == 1) return 0;
  return 2 * l.micro_batch_tokens() * static_cast<double>(shape.hidden) /
         static_cast<double>(l.tp) / rates.nic();
}

std::vector<dist::StageTimes> times_of_stages(const std::vector<Stage>& stages,
                                              const LayerTimes& dense, const LayerTimes& moe,
                                              double head, double messages) {
  std::vector<dist::StageTimes> times;
  for (const Stage& stage : stages) {
    dist::StageTimes t{0, 0, 0, messages};
    add(t, dense, static_cast<double>(stage.dense_layers));
    add(t, moe, static_cast<double>(stage.moe_layers));
    add(t, {head, head, head, 3 * head}, static_cast<double>(stage.heads));
    times.push_back(t);
  }
  return times;
}

std::vector<dist::StageTimes> stage_times(const ModelShape& shape, const Layout& layout,
                                          const Entry& gpu, const dist::Schedule& schedule,
                                          const std::optional<PhaseTimes>& published,
                                          double imbalance, Worksheet& sheet) {
  const Rates rates(gpu, sheet);
  const std::vector<Stage> stages = stages_of(shape, layout.stages());
  const double head = head_pass_seconds(shape, layout, gpu, rates, sheet);
  LayerTimes dense, moe;
  if (published) {
    dense = moe = from_published(*published, units_of(schedule, stages), head);
  } else {
    dense = layer_times(shape, false, layout, gpu, rates, imbalance);
    if (shape.is_moe()) {
      const Parts parts = parts_of(shape, true, layout, gpu, rates, imbalance);
      moe = times_of(parts, rates);
      explain_moe_layer(shape, parts, rates, imbalance, has_overlapped_pairs(schedule.kind), sheet);
    }
  }
  return times_of_stages(stages, dense, moe, head,
                         published ? 0 : 2 * message_seconds(shape, layout, rates));
}

PhaseTimes phase_times(const dist::Schedule& schedule,
                       const std::vector<dist::StageTimes>& stages) {
  PhaseTimes sum;
  const auto at = [&](const dist::Chunk& c) { return stages[static_cast<size_t>(c.stage)]; };
  for (const auto& list : schedule.ranks)
    for (const dist::Operation& op : list) {
      if (op.kind == dist::OperationKind::kOverlapped) {
        sum.overlapped += (at(op.forward).overlapped + at(op.backward).overlapped) / 2;
        continue;
      }
      if (runs_forward(op.kind)) sum.forward += at(op.forward).forward;
      if (runs_backward_input(op.kind)) sum.backward += at(op.backward).backward_input;
      if (runs_backward_weight(op.kind)) sum.weight += at(op.backward).backward_weight;
    }
  const auto ranks = static_cast<double>(schedule.ranks.size());
  return {sum.forward / ranks, sum.backward / ranks, sum.weight / ranks, sum.overlapped / ranks};
}

}  // namespace fathom::cluster
