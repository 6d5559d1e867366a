// One decoding step, layer by layer: the larger of arithmetic and memory for each part, the pauses
// between its kernels, and the exchange of tokens between experts' GPUs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "cluster/kv_cache.h"
#include "cluster/nearest.h"
#include "cluster/rates.h"
#include "cluster/serving.h"

namespace fathom::cluster {
namespace {

constexpr double kGib = 1024.0 * 1024 * 1024;
constexpr int64_t kLargestBatch = 1 << 16;

// Seconds that the parts of a layer take for one micro-batch.
struct Parts {
  double head = 0, tail = 0;  ///< attention before its core, and from there to the gate
  double shared = 0, experts = 0;
  double dispatch = 0, combine = 0;
  double attention() const { return head + tail; }
  double computation() const { return head + tail + shared + experts; }
  double communication() const { return dispatch + combine; }
};

class Decoder {
 public:
  Decoder(const ModelShape& shape, const Entry& gpu, const DecodeOptions& options, Worksheet& sheet)
      : s_(shape), n_(count(shape)), gpu_(gpu), o_(options), sheet_(sheet) {
    const Rates rates(gpu, sheet);
    memory_ = rates.memory();
    weight_read_ = rates.weight_read();
    bf16_ = rates.gemm_bf16();
    fp8_ = rates.gemm_fp8();
    head_gaps_ = rates.kernel_gaps("profile_attention_head_kernels");
    tail_gaps_ = rates.kernel_gaps("profile_attention_tail_kernels");
    mlp_gaps_ = rates.kernel_gaps("profile_mlp_kernels");
    const bool inside =
        gpu.has("nvlink_domain") && static_cast<double>(o_.ep) <= gpu.at("nvlink_domain");
    if (s_.is_moe() && o_.ep > 1) network_ = inside ? rates.nvlink() : rates.low_latency();
    experts_ =
        s_.is_moe() ? static_cast<double>(experts_per_gpu(s_, o_.ep, o_.redundant_experts)) : 0;
  }

  bool exchanges() const { return network_ > 0; }
  /// Two micro-batches pay where they hide more than reading the weights twice costs.
  bool piped(double sequences) const {
    return o_.overlap == Overlap::kDual && exchanges() &&
           pipeline(sequences).end() < one_by_one(sequences).end();
  }

  // Tokens that a sequence sends through the layers in a step, and that it gains.
  double tokens_per_sequence() const { return o_.mtp_acceptance > 0 ? 2 : 1; }
  double gained() const { return 1 + o_.mtp_acceptance; }

  Parts parts(double sequences) const {
    const double tokens = sequences * tokens_per_sequence();
    const auto heads = static_cast<double>(s_.heads), value = static_cast<double>(s_.v_dim);
    // The output projection, and MLA's values brought up from the latent.
    const double after = heads * value * static_cast<double>(s_.hidden + s_.kv_lora);
    Parts p;
    p.head = gemm(tokens, n_.attention - after) + head_gaps_;
    p.tail = core(sequences) + gemm(tokens, after) + tail_gaps_;
    if (!s_.is_moe()) return p;
    const auto shared = static_cast<double>(s_.shared_experts);
    const double used = (exchanges() ? o_.expert_imbalance : 1) * tokens *
                        static_cast<double>(s_.top_k) * n_.expert;
    p.shared = gemm(tokens, shared * n_.expert);
    p.experts = std::max(experts_ * n_.expert / weight_read_, 2 * used / fp8_) + mlp_gaps_;
    p.dispatch = exchange(tokens, o_.dispatch_bytes);
    p.combine = exchange(tokens, o_.combine_bytes);
    return p;
  }

  /// Reading the cache, or multiplying it where that takes longer.
  double core(double sequences) const {
    const double tokens = sequences * tokens_per_sequence();
    const auto width = static_cast<double>(s_.cache_width());
    const auto context = static_cast<double>(o_.context);
    const double read = sequences * context * width * o_.kv_bits / 8 / memory_;
    // Absorbed MLA multiplies the latent itself: K of latent + rope, V of latent.
    const double dims =
        s_.is_mla() ? 2.0 * static_cast<double>(s_.kv_lora) + static_cast<double>(s_.rope_dim)
                    : static_cast<double>(s_.qk_dim + s_.v_dim);
    const double compute = 2 * tokens * context * static_cast<double>(s_.heads) * dims / bf16_;
    return std::max(read, compute);
  }

  double dense(double sequences) const {
    return parts(sequences).attention() + gemm(sequences * tokens_per_sequence(), n_.dense_ffn) +
           mlp_gaps_;
  }

  double head(double sequences) const {
    const double tokens = sequences * tokens_per_sequence();
    return std::max(2 * n_.embedding / weight_read_, 2 * tokens * n_.embedding / bf16_);
  }

  LayerTimeline timeline(double sequences) const {
    return piped(sequences) ? pipeline(sequences) : one_by_one(sequences);
  }

  LayerTimeline one_by_one(double sequences) const {
    LayerTimeline t;
    const Parts p = parts(sequences);
    if (!s_.is_moe()) return t.step({{"attention + FFN", 0, dense(sequences)}}), t;
    t.step({{"attention", 0, p.attention()}});
    if (exchanges()) t.step({}, {"dispatch", 0, p.dispatch});
    t.step({{"shared", 0, p.shared}, {"experts", 0, p.experts}});
    if (exchanges()) t.step({}, {"combine", 0, p.combine});
    return t;
  }

  /// The published one: a micro-batch's dispatch runs beside its shared expert and the other's
  /// attention up to its core, its combine beside the rest of the other's attention.
  LayerTimeline pipeline(double sequences) const {
    LayerTimeline t;
    const Parts p = parts(sequences / 2);
    for (const int mine : {0, 1}) {
      const int other = 1 - mine;
      t.step({{"shared", mine, p.shared}, {"attention head", other, p.head}},
             {"dispatch", mine, p.dispatch});
      t.step({{"experts", mine, p.experts}});
      t.step({{"attention tail", other, p.tail}}, {"combine", mine, p.combine});
    }
    return t;
  }

  double moe_layer(double sequences) const { return timeline(sequences).end(); }

  /// Dense layers have nothing to wait for; they too run for each micro-batch.
  double dense_layer(double sequences) const {
    return piped(sequences) ? 2 * dense(sequences / 2) : dense(sequences);
  }

  double step(double sequences) const {
    const double drafting = o_.mtp_acceptance > 0 ? static_cast<double>(s_.mtp) : 0;
    const auto moe = static_cast<double>(s_.moe_layers());
    return (moe + drafting) * moe_layer(sequences) +
           (static_cast<double>(s_.layers) - moe) * dense_layer(sequences) +
           (1 + drafting) * head(sequences);
  }

  /// Weights of a GPU: FP8, embedding and head in BF16, attention and shared experts everywhere.
  double weight_bytes() const {
    const auto moe = static_cast<double>(s_.moe_layers());
    const auto all = static_cast<double>(s_.layers);
    return all * n_.attention + (all - moe) * n_.dense_ffn + 4 * n_.embedding +
           moe * ((experts_ + static_cast<double>(s_.shared_experts)) * n_.expert + n_.gate);
  }

  double cache_bytes(double sequences) const {
    return sequences * static_cast<double>(o_.context) * kv_bytes_per_token(s_, o_.kv_bits);
  }

  bool fits(double sequences) const {
    return weight_bytes() + cache_bytes(sequences) <= 0.9 * gpu_.at("memory_gib") * kGib;
  }

  int64_t largest_batch() const;

 private:
  /// The shared expert is at home on every GPU and crosses nothing.
  double exchange(double tokens, double bytes) const {
    if (network_ == 0) return 0;
    return o_.expert_imbalance * tokens * static_cast<double>(s_.top_k * s_.hidden) * bytes /
           network_;
  }

  double gemm(double tokens, double weights) const {
    return std::max(weights / weight_read_, 2 * tokens * weights / fp8_);
  }

  const ModelShape& s_;
  ShapeCount n_;
  const Entry& gpu_;
  const DecodeOptions& o_;
  Worksheet& sheet_;
  double memory_, weight_read_, bf16_, fp8_, network_ = 0, experts_ = 0;
  double head_gaps_, tail_gaps_, mlp_gaps_;  ///< s
};

// The most sequences that fit memory and leave every user the asked speed.
int64_t Decoder::largest_batch() const {
  const auto good = [&](int64_t batch) {
    const auto b = static_cast<double>(batch);
    return fits(b) && gained() / step(b) >= o_.user_tokens_per_s;
  };
  if (!good(1))
    throw Error(
        fits(1) ? fmt::format("no batch gives a user {} tokens/s: one sequence alone gets {:.3g}",
                              o_.user_tokens_per_s, gained() / step(1))
                : fmt::format("{:.1f} GiB of weights and one sequence of {} tokens exceed {}",
                              weight_bytes() / kGib, o_.context, gpu_.id()),
        fits(1) ? "ask for less with --user-tokens-per-s" : "raise --ep or shorten --context");
  int64_t low = 1, high = kLargestBatch;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (good(middle) ? low : high) = middle;
  }
  return low;
}

void check(const ModelShape& shape, const Entry& gpu, const DecodeOptions& o) {
  if (o.mtp_acceptance > 0 && shape.mtp == 0)
    throw Error(fmt::format("{} has no MTP module to draft with", shape.name),
                "leave out --mtp-acceptance");
  if (!shape.is_moe() && (o.ep != 1 || o.redundant_experts != 0))
    throw Error(fmt::format("{} is dense: expert parallelism has no influence", shape.name),
                "give --ep 1 --redundant-experts 0");
  (void)gpu.at("memory_gib");
}

void assume_exchanges(const DecodeOptions& o, Worksheet& sheet) {
  const bool dual = o.overlap == Overlap::kDual;
  sheet.assume("overlap",
               dual ? "two micro-batches where that is faster: dispatch beside the shared expert "
                      "and attention up to "
                      "its core, combine beside the rest of attention"
                    : "none: communication and computation add up",
               dual ? "DeepSeek profile-data, picture of decoding" : "--overlap");
  sheet.assume("busiest GPU's experts", fmt::format("{} times the mean", o.expert_imbalance),
               "--expert-imbalance");
}

void assume(const DecodeOptions& o, bool exchanges, Worksheet& sheet) {
  sheet.assume("layout", fmt::format("attention data parallel, experts over {} GPUs", o.ep),
               "DeepSeek open-infra-index, day 6");
  if (exchanges) assume_exchanges(o, sheet);
  sheet.assume("kernels", "as many as in the training profile's forward, with its pauses",
               "DeepSeek profile-data, train.json");
  sheet.assume("context", fmt::format("{} tokens", o.context), "--context");
  sheet.assume("weights", "FP8, embedding and head BF16", "DeepSeek-V3 recipe");
  sheet.assume("memory left free", "10%", "this plan");
}

void layer_results(const Parts& p, double tokens, const ModelShape& shape, const DecodeOptions& o,
                   Worksheet& sheet) {
  sheet.result("layer_attention_head_s", p.head, "s", "projections before the core, and pauses");
  sheet.result("layer_attention_tail_s", p.tail, "s",
               "the larger of reading the cache and multiplying it, output projection, and pauses");
  if (!shape.is_moe()) return;
  sheet.result("layer_shared_s", p.shared, "s",
               "the larger of reading the shared expert and multiplying it");
  sheet.result("layer_experts_s", p.experts, "s",
               "the larger of reading the experts and multiplying them, and pauses");
  const auto exchange = [&](const char* name, double seconds, double bytes) {
    sheet.result(name, seconds, "s",
                 fmt::format("{} x {} tokens x {} experts x {} values x {} bytes / rate",
                             o.expert_imbalance, tokens, shape.top_k, shape.hidden, bytes));
  };
  exchange("layer_dispatch_s", p.dispatch, o.dispatch_bytes);
  exchange("layer_combine_s", p.combine, o.combine_bytes);
  sheet.result("layer_communication_s", p.communication(), "s", "dispatch + combine");
}

}  // namespace

int64_t experts_per_gpu(const ModelShape& shape, int64_t ep, int64_t redundant) {
  const int64_t copies = shape.experts + redundant;
  if (copies % ep == 0) return copies / ep;
  const int64_t more = (copies / ep + 1) * ep - shape.experts;
  throw Error(fmt::format("{} experts and {} redundant do not divide over {} GPUs", shape.experts,
                          redundant, ep),
              fmt::format("the nearest choices: --redundant-experts {}, or --ep {}", more,
                          nearest_divisor(ep, copies)));
}

DecodePlan plan_decode(const ModelShape& shape, const Entry& gpu, const DecodeOptions& options,
                       Worksheet& sheet) {
  check(shape, gpu, options);
  sheet.fact("model", shape.name);
  sheet.fact("hardware", gpu.name());
  const Decoder d(shape, gpu, options, sheet);
  assume(options, d.exchanges(), sheet);
  DecodePlan plan;
  plan.batch = options.batch.value_or(0);
  if (!options.batch) {
    plan.batch = d.largest_batch();
    sheet.assume("speed a user gets", options.user_tokens_per_s, "tokens/s",
                 "--user-tokens-per-s: the batch is the largest that keeps it and fits");
  }
  const auto batch = static_cast<double>(plan.batch);
  if (!d.fits(batch))
    throw Error(
        fmt::format("{} sequences of {} tokens take {:.1f} GiB beside {:.1f} GiB of weights",
                    plan.batch, options.context, d.cache_bytes(batch) / kGib,
                    d.weight_bytes() / kGib),
        fmt::format(
            "at most {:.0f} fit {}",
            std::max(0.0, std::floor((0.9 * gpu.at("memory_gib") * kGib - d.weight_bytes()) /
                                     d.cache_bytes(1))),
            gpu.id()));
  const bool dual = d.piped(batch);
  const double part = dual ? batch / 2 : batch;
  const double node = gpu.at("gpus_per_node", sheet);
  sheet.result("batch_per_gpu", batch, "");
  sheet.result("weight_bytes_per_gpu", d.weight_bytes(), "bytes");
  sheet.result("cache_bytes_per_gpu", d.cache_bytes(batch), "bytes",
               fmt::format("{} sequences x {} tokens x {:.0f} bytes", plan.batch, options.context,
                           kv_bytes_per_token(shape, options.kv_bits)));
  plan.layer = d.timeline(batch);
  plan.communication = d.parts(part).communication();
  plan.computation = d.parts(part).computation();
  layer_results(d.parts(part), part * d.tokens_per_sequence(), shape, options, sheet);
  plan.step = sheet.result(
      "step_s", d.step(batch), "s",
      fmt::format(
          "{} MoE layers x {:.6g} s{}, {} dense layers x {:.6g} s, the head", shape.moe_layers(),
          d.moe_layer(batch),
          dual ? " = 2 x (max(shared + head, dispatch) + experts + max(tail, combine))" : "",
          shape.layers - shape.moe_layers(), d.dense_layer(batch)));
  plan.tpot = sheet.result("tpot_s", plan.step / d.gained(), "s",
                           fmt::format("{:.6g} s / {} tokens a step", plan.step, d.gained()));
  sheet.result("user_tokens_per_s", 1 / plan.tpot, "", fmt::format("1 / {:.6g} s", plan.tpot));
  plan.tokens_per_s_node =
      sheet.result("tokens_per_s_node", node * batch / plan.tpot, "tokens/s",
                   fmt::format("{} GPUs x {} sequences / {:.6g} s", node, plan.batch, plan.tpot));
  sheet.result("nodes_per_unit", static_cast<double>(options.ep) / node, "");
  return plan;
}

}  // namespace fathom::cluster
