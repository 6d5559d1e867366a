#include "cluster/kv_cache.h"

#include <fmt/format.h>

#include <cmath>

#include "base/error.h"

namespace fathom::cluster {
namespace {

constexpr double kGib = 1024.0 * 1024 * 1024;

std::string cache_formula(const ModelShape& s, double bits) {
  const std::string width =
      s.is_mla() ? fmt::format("({} latent + {} rope)", s.kv_lora, s.rope_dim)
                 : fmt::format("{} KV heads x ({} + {})", s.kv_heads, s.qk_dim, s.v_dim);
  return fmt::format("{} layers x {} values x {} bits / 8", s.layers, width, bits);
}

double sequences_that_fit(const ModelShape& shape, double per_token, const Entry& gpu,
                          const FitOptions& fit, Worksheet& sheet) {
  const auto gpus = static_cast<double>(fit.gpus), context = static_cast<double>(fit.context);
  const ShapeCount n = count(shape);
  const double memory = gpus * gpu.at("memory_gib", sheet) * kGib;
  sheet.assume("reserved memory", fit.reserved_share, "%", "activations, buffers, fragmentation");
  sheet.assume("cache", "each sequence's kept once, weights spread evenly", "this plan");
  const double weights =
      sheet.result("weight_bytes", n.total * fit.weight_bits / 8, "bytes",
                   fmt::format("{:.0f} parameters x {} bits / 8", n.total, fit.weight_bits));
  const double free =
      sheet.result("free_bytes", memory * (1 - fit.reserved_share) - weights, "bytes",
                   fmt::format("{} GPUs x {} GiB x (1 - {}) - weights", fit.gpus,
                               gpu.at("memory_gib"), fit.reserved_share));
  const double usable = gpu.at("memory_gib") * kGib * (1 - fit.reserved_share);
  if (free <= 0)
    throw Error(
        fmt::format("{} takes {:.1f} GiB at {} bits: more than {} x {}", shape.name, weights / kGib,
                    fit.weight_bits, fit.gpus, gpu.id()),
        fmt::format("at least {:.0f} of them hold the weights", std::floor(weights / usable) + 1));
  return sheet.result("sequences", std::floor(free / (per_token * context)), "",
                      fmt::format("floor({:.6g} free bytes / ({} tokens x {:.0f} bytes))", free,
                                  fit.context, per_token));
}

}  // namespace

double kv_bytes_per_token(const ModelShape& shape, double bits_per_value) {
  return static_cast<double>(shape.cache_width() * shape.layers) * bits_per_value / 8;
}

KvCachePlan plan_kv_cache(const ModelShape& shape, double bits_per_value, const Entry* gpu,
                          const FitOptions& fit, Worksheet& sheet) {
  sheet.fact("model", shape.name);
  sheet.fact("attention", shape.attention_name());
  sheet.assume("shape of " + shape.name, fmt::format("{} layers", shape.layers), shape.source);
  KvCachePlan plan;
  plan.bytes_per_token =
      sheet.result("kv_bytes_per_token", kv_bytes_per_token(shape, bits_per_value), "bytes",
                   cache_formula(shape, bits_per_value));
  if (gpu) plan.sequences = sequences_that_fit(shape, plan.bytes_per_token, *gpu, fit, sheet);
  return plan;
}

void compare_kv_cache(const std::vector<ModelShape>& shapes, double bits_per_value,
                      Worksheet& sheet) {
  auto& table = sheet.table(
      "models",
      {{"model", ""}, {"attention", ""}, {"kv_bytes_per_token", "bytes"}, {"multiple", ""}});
  sheet.assume("cached values", fmt::format("{} bits", bits_per_value), "--kv-bits");
  const double first = kv_bytes_per_token(shapes.front(), bits_per_value);
  for (const ModelShape& shape : shapes) {
    const double bytes = kv_bytes_per_token(shape, bits_per_value);
    table.rows.push_back({shape.name, shape.attention_name(), bytes, bytes / first});
    sheet.assume("shape of " + shape.name, cache_formula(shape, bits_per_value), shape.source);
  }
}

}  // namespace fathom::cluster
