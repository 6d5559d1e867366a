#pragma once

#include <cstdint>
#include <optional>

#include "cluster/catalogue.h"
#include "cluster/layer_timeline.h"
#include "cluster/model_shape.h"
#include "cluster/worksheet.h"

namespace fathom::cluster {

/// Whether communication hides behind computation: two micro-batches take turns as DeepSeek's
/// published pipelines do (in decoding where that is faster), or each layer waits for both.
enum class Overlap : uint8_t { kDual, kNone };

/// What is left after balancing with redundant experts. SGLang serves 50,302 prompt tokens/s a node
/// of 4096-token prompts at EP32, and says that balanced experts would bring it within 5.6% of
/// DeepSeek's own profile; a plan of that comes to 1.3.
inline constexpr double kExpertImbalance = 1.3;

/// Decoding with data-parallel attention and expert parallelism over `ep` GPUs.
struct DecodeOptions {
  int64_t ep = 144;
  int64_t redundant_experts = 32;
  int64_t context = 4989;  ///< tokens in a sequence's cache, on average
  /// Sequences a GPU; without it the most that leave every user user_tokens_per_s.
  std::optional<int64_t> batch;
  double user_tokens_per_s = 20;
  Overlap overlap = Overlap::kDual;
  double dispatch_bytes = 1, combine_bytes = 2;  ///< a value on the wire
  double kv_bits = 16;
  double mtp_acceptance = 0;  ///< of the drafted token; 0: no drafting
  /// Load of the GPU whose experts are busiest, over the mean: all others wait for it.
  double expert_imbalance = kExpertImbalance;
};

struct DecodePlan {
  int64_t batch = 0;         ///< sequences a GPU
  double communication = 0;  ///< s, dispatch and combine of one micro-batch in one layer
  double computation = 0;    ///< s, of the same
  double step = 0;           ///< s, one forward of all layers
  double tpot = 0;           ///< s a token that a user sees
  double tokens_per_s_node = 0;
  LayerTimeline layer;  ///< of an MoE layer (without experts: of any), for all sequences
};

/// Throws Error when ep does not fit the experts, or no batch fits memory or the users' speed.
DecodePlan plan_decode(const ModelShape& shape, const Entry& gpu, const DecodeOptions& options,
                       Worksheet& sheet);

/// The bound that the network alone sets (ISCA 2.3.2): two micro-batches, computation hidden, every
/// layer counted, one expert a GPU, the shared expert sent like the routed.
struct NetworkLimit {
  double communication = 0, layer = 0, tpot = 0;  ///< s
};
struct NetworkLimitOptions {
  int64_t tokens = 32;  ///< a GPU in one micro-batch
  double dispatch_bytes = 1, combine_bytes = 2;
  bool nvlink = false;  ///< scale-up instead of the NIC
};
NetworkLimit plan_network_limit(const ModelShape& shape, const Entry& gpu,
                                const NetworkLimitOptions& options, Worksheet& sheet);

struct PrefillOptions {
  int64_t ep = 32;
  int64_t redundant_experts = 32;
  int64_t tokens = 4096;  ///< a GPU in one micro-batch
  int64_t prompt = 4989;  ///< tokens of a prompt
  double cache_hit = 0;   ///< share of prompt tokens found in a stored cache
  /// Standard deviation of the prompts' length over its mean. Tokens are in long prompts more often
  /// than not, so that the mean token sees (1 + spread^2) times the keys of one in equal prompts.
  double length_spread = 1;
  double expert_imbalance = kExpertImbalance;
  Overlap overlap = Overlap::kDual;
  double dispatch_bytes = 1, combine_bytes = 2;
  /// With both: how many prefill nodes a decode node needs.
  std::optional<double> decode_tokens_per_s_node;
  std::optional<int64_t> output_tokens;
};

struct PrefillPlan {
  double communication = 0, computation = 0;  ///< s, of one micro-batch in one MoE layer
  double pass = 0;                            ///< s, all layers for one micro-batch
  double computed_tokens_per_s_node = 0, tokens_per_s_node = 0;  ///< without and with hits
  double prefill_nodes_per_decode_node = 0;
  LayerTimeline layer;  ///< of an MoE layer, for one micro-batch or with overlap two
};

PrefillPlan plan_prefill(const ModelShape& shape, const Entry& gpu, const PrefillOptions& options,
                         Worksheet& sheet);

/// Routed experts that a GPU holds, copies included. Throws Error unless they divide evenly.
int64_t experts_per_gpu(const ModelShape& shape, int64_t ep, int64_t redundant);

}  // namespace fathom::cluster
