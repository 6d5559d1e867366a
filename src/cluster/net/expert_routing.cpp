#include "cluster/net/expert_routing.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace fathom::net {
namespace {

/// The chance that `draws` different items of `all` miss a given set of `part`:
/// C(all - part, draws) / C(all, draws).
double miss_chance(int64_t all, int64_t part, int64_t draws) {
  double p = 1;
  for (int64_t i = 0; i < draws; ++i)
    p *= static_cast<double>(std::max<int64_t>(all - part - i, 0)) / static_cast<double>(all - i);
  return p;
}

void check(const ExpertRouting& r, int64_t limit, int64_t nodes, int64_t gpus) {
  if (r.experts < 1 || r.experts % (nodes * gpus) != 0)
    throw Error(fmt::format("{} experts do not divide over {} GPUs", r.experts, nodes * gpus),
                fmt::format("the nearest is {}",
                            std::max<int64_t>(1, (r.experts + nodes * gpus / 2) / (nodes * gpus)) *
                                nodes * gpus));
  const int64_t reachable = r.experts / nodes * limit;
  if (r.top_k < 1 || r.top_k > reachable)
    throw Error(fmt::format("top_k = {}: {} nodes hold {} experts", r.top_k, limit, reachable),
                fmt::format("the nearest is {}", r.top_k < 1 ? 1 : reachable));
  if (r.even && r.top_k % limit != 0)
    throw Error(fmt::format("top_k = {} does not divide evenly over {} nodes", r.top_k, limit),
                "spread = \"uniform\", or a node_limit that divides top_k");
}

}  // namespace

ExpertCopies expected_copies(const ExpertRouting& r, int64_t nodes, int64_t gpus) {
  if (r.node_limit < 0)
    throw Error(fmt::format("node_limit = {}: must be 0 or more", r.node_limit));
  const int64_t limit = r.node_limit == 0 ? nodes : std::min(r.node_limit, nodes);
  check(r, limit, nodes, gpus);
  const auto k = static_cast<double>(r.top_k), m = static_cast<double>(limit);
  if (!r.deduplicate) return {k, k};
  const int64_t on_node = r.experts / nodes, on_gpu = on_node / gpus;
  if (r.even)
    return {m, m * static_cast<double>(gpus) * (1 - miss_chance(on_node, on_gpu, r.top_k / limit))};
  const int64_t reachable = on_node * limit;
  return {m * (1 - miss_chance(reachable, on_node, r.top_k)),
          m * static_cast<double>(gpus) * (1 - miss_chance(reachable, on_gpu, r.top_k))};
}

int64_t token_bytes(Payload payload, int64_t hidden) {
  if (hidden < 1) throw Error(fmt::format("hidden = {}: must be at least 1", hidden));
  if (payload == Payload::kBf16) return 2 * hidden;
  if (hidden % 128 != 0)
    throw Error(fmt::format("hidden = {} does not divide into groups of 128 values", hidden),
                fmt::format("the nearest is {}", std::max<int64_t>(1, (hidden + 64) / 128) * 128));
  const int64_t values = payload == Payload::kFp8 ? hidden : hidden * 10 / 8;
  return values + hidden / 128 * 4;
}

}  // namespace fathom::net
