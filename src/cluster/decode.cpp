// One decoding step, layer by layer: the larger of arithmetic and memory for each part, and the
// exchange of tokens between experts' GPUs.
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

class Decoder {
 public:
  Decoder(const ModelShape& shape, const Entry& gpu, const DecodeOptions& options, Worksheet& sheet)
      : s_(shape), n_(count(shape)), gpu_(gpu), o_(options), sheet_(sheet) {
    const Rates rates(gpu, sheet);
    memory_ = rates.memory();
    weight_read_ = rates.weight_read();
    bf16_ = rates.gemm_bf16();
    fp8_ = rates.gemm_fp8();
    const bool inside =
        gpu.has("nvlink_domain") && static_cast<double>(o_.ep) <= gpu.at("nvlink_domain");
    if (s_.is_moe() && o_.ep > 1) network_ = inside ? rates.nvlink() : rates.low_latency();
    experts_ =
        s_.is_moe() ? static_cast<double>(experts_per_gpu(s_, o_.ep, o_.redundant_experts)) : 0;
  }

  // Tokens that a sequence sends through the layers in a step, and that it gains.
  double tokens_per_sequence() const { return o_.mtp_acceptance > 0 ? 2 : 1; }
  double gained() const { return 1 + o_.mtp_acceptance; }

  /// Dispatch and combine of `sequences`; the shared expert is at home on every GPU.
  double communication(double sequences) const {
    if (network_ == 0) return 0;
    return sequences * tokens_per_sequence() * static_cast<double>(s_.top_k * s_.hidden) *
           (o_.dispatch_bytes + o_.combine_bytes) / network_;
  }

  double attention(double sequences) const {
    const double tokens = sequences * tokens_per_sequence();
    const double projections = gemm(tokens, n_.attention);
    const auto width = static_cast<double>(s_.cache_width());
    const auto context = static_cast<double>(o_.context);
    const double read = sequences * context * width * o_.kv_bits / 8 / memory_;
    // Absorbed MLA multiplies the latent itself: K of latent + rope, V of latent.
    const double dims =
        s_.is_mla() ? 2.0 * static_cast<double>(s_.kv_lora) + static_cast<double>(s_.rope_dim)
                    : static_cast<double>(s_.qk_dim + s_.v_dim);
    const double compute = 2 * tokens * context * static_cast<double>(s_.heads) * dims / bf16_;
    return projections + std::max(read, compute);
  }

  double experts(double sequences) const {
    const double tokens = sequences * tokens_per_sequence();
    const double held = (experts_ + static_cast<double>(s_.shared_experts)) * n_.expert;
    const double used = tokens * static_cast<double>(s_.top_k + s_.shared_experts) * n_.expert;
    return std::max(held / weight_read_, 2 * used / fp8_);
  }

  double dense(double sequences) const {
    return gemm(sequences * tokens_per_sequence(), n_.dense_ffn);
  }

  double head(double sequences) const {
    const double tokens = sequences * tokens_per_sequence();
    return std::max(2 * n_.embedding / weight_read_, 2 * tokens * n_.embedding / bf16_);
  }

  double computation(double sequences) const { return attention(sequences) + experts(sequences); }

  double moe_layer(double sequences) const {
    if (o_.overlap == Overlap::kNone) return communication(sequences) + computation(sequences);
    return 2 * std::max(communication(sequences / 2), computation(sequences / 2));
  }

  double step(double sequences) const {
    const double drafting = o_.mtp_acceptance > 0 ? static_cast<double>(s_.mtp) : 0;
    const auto moe = static_cast<double>(s_.moe_layers());
    return (moe + drafting) * moe_layer(sequences) +
           (static_cast<double>(s_.layers) - moe) * (attention(sequences) + dense(sequences)) +
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
  double gemm(double tokens, double weights) const {
    return std::max(weights / weight_read_, 2 * tokens * weights / fp8_);
  }

  const ModelShape& s_;
  ShapeCount n_;
  const Entry& gpu_;
  const DecodeOptions& o_;
  Worksheet& sheet_;
  double memory_, weight_read_, bf16_, fp8_, network_ = 0, experts_ = 0;
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

void assume(const DecodeOptions& o, Worksheet& sheet) {
  sheet.assume("layout", fmt::format("attention data parallel, experts over {} GPUs", o.ep),
               "DeepSeek open-infra-index, day 6");
  sheet.assume("overlap",
               o.overlap == Overlap::kDual
                   ? "two micro-batches: the larger of communication and computation counts"
                   : "none: communication and computation add up",
               "--overlap");
  sheet.assume("context", fmt::format("{} tokens", o.context), "--context");
  sheet.assume("experts' load", "balanced by redundant experts", "this plan");
  sheet.assume("weights", "FP8, embedding and head BF16", "DeepSeek-V3 recipe");
  sheet.assume("memory left free", "10%", "this plan");
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
  assume(options, sheet);
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
  const bool dual = options.overlap == Overlap::kDual;
  const double part = dual ? batch / 2 : batch;
  const double node = gpu.at("gpus_per_node", sheet);
  sheet.result("batch_per_gpu", batch, "");
  sheet.result("weight_bytes_per_gpu", d.weight_bytes(), "bytes");
  sheet.result("cache_bytes_per_gpu", d.cache_bytes(batch), "bytes",
               fmt::format("{} sequences x {} tokens x {:.0f} bytes", plan.batch, options.context,
                           kv_bytes_per_token(shape, options.kv_bits)));
  plan.communication = sheet.result(
      "layer_communication_s", d.communication(part), "s",
      fmt::format("{} sequences x {} tokens x {} experts x {} values x ({} + {}) bytes / rate",
                  part, d.tokens_per_sequence(), shape.top_k, shape.hidden, options.dispatch_bytes,
                  options.combine_bytes));
  sheet.result("layer_attention_s", d.attention(part), "s",
               "projections and the larger of reading the cache and multiplying it");
  sheet.result("layer_experts_s", d.experts(part), "s",
               "the larger of reading the experts and multiplying them");
  plan.computation = d.computation(part);
  plan.step = sheet.result("step_s", d.step(batch), "s",
                           fmt::format("{} MoE layers x {:.6g} s, the dense layers, the head",
                                       shape.moe_layers(), d.moe_layer(batch)));
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
