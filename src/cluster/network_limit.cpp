#include <fmt/format.h>

#include "base/error.h"
#include "cluster/serving.h"

namespace fathom::cluster {

NetworkLimit plan_network_limit(const ModelShape& shape, const Entry& gpu,
                                const NetworkLimitOptions& options, Worksheet& sheet) {
  if (!shape.is_moe())
    throw Error(fmt::format("{} is dense: it has no dispatch and combine", shape.name),
                "give an MoE model such as deepseek-v3");
  const int64_t copies = shape.top_k + shape.shared_experts;
  const double rate = gpu.at(options.nvlink ? "nvlink_gb_s" : "nic_gb_s", sheet);
  const auto layers = static_cast<double>(shape.layers);
  sheet.fact("model", shape.name);
  sheet.fact("hardware", gpu.name());
  sheet.assume("micro-batches", "two: one computes while the other communicates",
               "Insights into DeepSeek-V3, 2.3.2");
  sheet.assume("computation", "hidden entirely", "Insights into DeepSeek-V3, 2.3.2");
  NetworkLimit limit;
  limit.communication =
      sheet.result("communication_s",
                   (options.dispatch_bytes + options.combine_bytes) *
                       static_cast<double>(options.tokens * copies * shape.hidden) / (rate * 1e9),
                   "s",
                   fmt::format("({} + {} bytes) x {} tokens x {} experts x {} values / {} GB/s",
                               options.dispatch_bytes, options.combine_bytes, options.tokens,
                               copies, shape.hidden, rate));
  limit.layer = sheet.result("layer_s", 2 * limit.communication, "s",
                             fmt::format("2 micro-batches x {:.6g} s", limit.communication));
  limit.tpot = sheet.result("tpot_s", layers * limit.layer, "s",
                            fmt::format("{} layers x {:.6g} s", shape.layers, limit.layer));
  sheet.result("user_tokens_per_s", 1 / limit.tpot, "", fmt::format("1 / {:.6g} s", limit.tpot));
  return limit;
}

}  // namespace fathom::cluster
