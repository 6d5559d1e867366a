#pragma once

#include <cstdint>

namespace fathom::net {

/// How tokens choose experts. Experts lie evenly on the GPUs of `nodes` nodes.
struct ExpertRouting {
  int64_t experts = 256;
  int64_t top_k = 8;
  int64_t node_limit = 4;  ///< M: nodes a token may reach; 0: as many as there are
  /// even: a token reaches exactly M nodes, top_k / M experts on each. Otherwise M nodes are drawn
  /// at random, then top_k of the experts on them, so that a node may be left out by chance.
  bool even = false;
  /// A token crosses to a node once and is copied there to the GPUs of its experts (TR 3.2.2).
  /// Otherwise it is sent once for each expert.
  bool deduplicate = true;
};

/// Expected copies of one token.
struct ExpertCopies {
  double nodes;  ///< that arrive at nodes, its own among them
  double gpus;   ///< that arrive at GPUs, its own among them
};

/// Throws Error where experts do not divide over the GPUs, or the limits contradict each other.
ExpertCopies expected_copies(const ExpertRouting& routing, int64_t nodes, int64_t gpus_per_node);

enum class Payload : uint8_t { kFp8, kBf16, kLogFmt10 };

/// Bytes of one token's vector: FP8 with one FP32 scale, or LogFMT-10 with two BF16 bounds, for
/// each 128 values (spec F.3, H.1); hidden % 128 == 0 for these.
int64_t token_bytes(Payload payload, int64_t hidden);

}  // namespace fathom::net
