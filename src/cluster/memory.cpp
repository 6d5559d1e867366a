#include "cluster/memory.h"

#include <fmt/format.h>

#include <algorithm>

#include "dist/simulate.h"

namespace fathom::cluster {
namespace {

constexpr double kGib = 1024.0 * 1024 * 1024;
constexpr double kGradientBytes = 4, kMasterBytes = 4, kMomentBytes = 2 + 2;

// Parameters of a stage as one GPU holds them.
struct Held {
  double dense = 0;    ///< attention, dense and shared FFN, norms, gates
  double ends = 0;     ///< embedding and head, BF16
  double experts = 0;  ///< routed
};

Held held_by_stage(const ModelShape& shape, const ShapeCount& n, const Layout& l,
                   const Stage& stage) {
  const auto tp = static_cast<double>(l.tp), ep = static_cast<double>(l.ep);
  const auto dense = static_cast<double>(stage.dense_layers);
  const auto moe = static_cast<double>(stage.moe_layers);
  const auto hidden = static_cast<double>(shape.hidden);
  Held h;
  h.dense = (dense + moe) * (n.attention / tp + n.norms) + dense * n.dense_ffn / tp +
            moe * (n.gate + static_cast<double>(shape.shared_experts) * n.expert / tp) +
            static_cast<double>(stage.mtp) * (2 * hidden * hidden + 3 * hidden);
  h.experts = moe * static_cast<double>(shape.experts) * n.expert / ep;
  h.ends = ((stage.embedding ? 1 : 0) + (stage.heads > 0 ? 1 : 0)) * n.embedding / tp;
  return h;
}

// Most chunks of each stage that a rank keeps at once, weighted by the stages' bytes a chunk: the
// schedule is walked in order with forwards adding and backwards freeing.
struct Peak {
  double bytes = 0, chunks = 0;
};

Peak peak_of(const std::vector<dist::Operation>& list, const std::vector<double>& chunk_bytes) {
  Peak peak;
  double bytes = 0, chunks = 0;
  const auto bytes_of = [&](const dist::Chunk& c) {
    return chunk_bytes[static_cast<size_t>(c.stage)];
  };
  for (const dist::Operation& op : list) {
    if (runs_forward(op.kind)) {
      bytes += bytes_of(op.forward);
      ++chunks;
    }
    peak.bytes = std::max(peak.bytes, bytes);
    peak.chunks = std::max(peak.chunks, chunks);
    if (!runs_backward_weight(op.kind)) continue;
    bytes -= bytes_of(op.backward);
    --chunks;
  }
  return peak;
}

std::vector<double> chunk_bytes(const ModelShape& shape, const Layout& l,
                                const std::vector<Stage>& stages, const MemoryRecipe& recipe) {
  const double tokens = l.micro_batch_tokens() / static_cast<double>(l.tp);
  const double dense = activation_bytes(shape, false, recipe);
  const double moe = activation_bytes(shape, true, recipe);
  std::vector<double> bytes;
  for (const Stage& stage : stages)
    bytes.push_back(tokens * (static_cast<double>(stage.dense_layers) * dense +
                              static_cast<double>(stage.moe_layers) * moe));
  return bytes;
}

void add_stage(const Held& h, const Layout& l, const MemoryRecipe& recipe, RankMemory& m) {
  const double weight_bytes = recipe.fp8 ? 1 : 2;
  const auto dense_copies = static_cast<double>(l.dp());
  const auto expert_copies = static_cast<double>(l.expert_copies());
  m.dense_parameters += h.dense + h.ends;
  m.expert_parameters += h.experts;
  m.weights += weight_bytes * (h.dense + h.experts) + 2 * h.ends;
  m.gradients += kGradientBytes * (h.dense + h.ends + h.experts);
  m.optimizer += (kMasterBytes + kMomentBytes) *
                 ((h.dense + h.ends) / dense_copies + h.experts / expert_copies);
}

void assume(const MemoryRecipe& recipe, double reserved_share, Worksheet& sheet) {
  const char* source = "DeepSeek-V3 report, 3.3";
  sheet.assume("weights", recipe.fp8 ? "FP8; embedding and head BF16" : "BF16", source);
  sheet.assume("gradients", "FP32, whole on each GPU", source);
  sheet.assume("optimizer", "ZeRO-1: FP32 master weights, BF16 moments, over all copies", source);
  sheet.assume("activations",
               fmt::format("{}{}", recipe.fp8 ? "FP8 inputs of Linears, E5M6 for o_proj" : "BF16",
                           recipe.recompute ? "; RMSNorm, MLA up-projections and SwiGLU recomputed"
                                            : "; nothing recomputed"),
               source);
  sheet.assume("memory left free", reserved_share, "%", "communication buffers, workspaces");
}

}  // namespace

double activation_bytes(const ModelShape& s, bool moe_layer, const MemoryRecipe& recipe) {
  const double cached = recipe.fp8 ? 1 : 2;     // input of a Linear
  const double o_input = recipe.fp8 ? 1.5 : 2;  // E5M6
  const auto hidden = static_cast<double>(s.hidden), heads = static_cast<double>(s.heads);
  const auto qk = static_cast<double>(s.qk_dim), v = static_cast<double>(s.v_dim);
  const double latents = s.is_mla() ? static_cast<double>(s.q_lora + s.kv_lora + s.rope_dim) : 0;
  double bytes = 2 * 2 * hidden;             // the residual stream before both norms, BF16
  bytes += heads * v * o_input + 4 * heads;  // attention's output and log-sum-exp
  const auto kv_heads = static_cast<double>(s.is_mla() ? s.heads : s.kv_heads);
  const double qkv = 2 * (heads * qk + kv_heads * (qk + v));
  if (s.is_mla() && recipe.recompute)
    bytes += 2 * latents;  // the norms' inputs, from which queries, keys and values come again
  else
    bytes += qkv + 2 * latents;
  if (!recipe.recompute) bytes += 2 * cached * hidden;  // outputs of the norms
  const auto routed = static_cast<double>(moe_layer ? s.top_k : 1);
  const auto width = static_cast<double>(moe_layer ? s.expert_ffn : s.dense_ffn);
  const double ffn = cached * (hidden + 2 * width) + (recipe.recompute ? 0 : cached * width);
  bytes += routed * ffn;
  if (moe_layer)
    bytes += static_cast<double>(s.shared_experts) * ffn + 4 * static_cast<double>(s.experts);
  return bytes;
}

std::vector<RankMemory> rank_memory(const ModelShape& shape, const Layout& layout,
                                    const MemoryRecipe& recipe) {
  check(layout, shape);
  const ShapeCount n = count(shape);
  const std::vector<Stage> stages = stages_of(shape, layout.stages());
  const std::vector<double> bytes = chunk_bytes(shape, layout, stages, recipe);
  const dist::Schedule schedule = dist::make_schedule(
      layout.schedule, static_cast<int>(layout.stages()), static_cast<int>(layout.micro_batches()));
  const auto ranks = stages_of_ranks(layout);
  std::vector<RankMemory> memory(ranks.size());
  for (size_t r = 0; r < ranks.size(); ++r) {
    for (const int64_t stage : ranks[r])
      add_stage(held_by_stage(shape, n, layout, stages[static_cast<size_t>(stage)]), layout, recipe,
                memory[r]);
    const Peak peak = peak_of(schedule.ranks[r], bytes);
    memory[r].activations = peak.bytes;
    memory[r].peak_chunks = peak.chunks;
  }
  return memory;
}

MemoryPlan plan_memory(const ModelShape& shape, const Layout& layout, const MemoryRecipe& recipe,
                       const Entry& gpu, double reserved_share, Worksheet& sheet) {
  const std::vector<RankMemory> ranks = rank_memory(shape, layout, recipe);
  const auto largest = std::max_element(
      ranks.begin(), ranks.end(),
      [](const RankMemory& a, const RankMemory& b) { return a.total() < b.total(); });
  sheet.fact("model", shape.name);
  sheet.fact("hardware", gpu.name());
  sheet.fact("layout", layout.name());
  assume(recipe, reserved_share, sheet);
  MemoryPlan plan{*largest, false};
  const double usable = gpu.at("memory_gib", sheet) * (1 - reserved_share);
  sheet.result("weights_gib", largest->weights / kGib, "GiB",
               fmt::format("{:.6g} dense and {:.6g} expert parameters of the fullest GPU",
                           largest->dense_parameters, largest->expert_parameters));
  sheet.result("gradients_gib", largest->gradients / kGib, "GiB", "4 bytes a parameter held");
  sheet.result("optimizer_gib", largest->optimizer / kGib, "GiB",
               fmt::format("8 bytes x (dense / {} copies + experts / {} copies)", layout.dp(),
                           layout.expert_copies()));
  sheet.result(
      "activations_gib", largest->activations / kGib, "GiB",
      fmt::format("at most {} chunks at once; a token leaves {:.0f} bytes in an MoE layer, "
                  "{:.0f} in a dense one",
                  largest->peak_chunks, activation_bytes(shape, true, recipe),
                  activation_bytes(shape, false, recipe)));
  const double total = sheet.result("total_gib", largest->total() / kGib, "GiB");
  sheet.result("usable_gib", usable, "GiB",
               fmt::format("{} GiB x (1 - {})", gpu.at("memory_gib"), reserved_share));
  plan.fits = total <= usable;
  sheet.fact("fits", plan.fits ? "yes" : "no");
  auto& table = sheet.table("pipeline_ranks", {{"rank", ""},
                                               {"weights", "GiB"},
                                               {"gradients", "GiB"},
                                               {"optimizer", "GiB"},
                                               {"activations", "GiB"},
                                               {"total", "GiB"},
                                               {"chunks", ""}});
  for (size_t r = 0; r < ranks.size(); ++r)
    table.rows.push_back({static_cast<double>(r), ranks[r].weights / kGib,
                          ranks[r].gradients / kGib, ranks[r].optimizer / kGib,
                          ranks[r].activations / kGib, ranks[r].total() / kGib,
                          ranks[r].peak_chunks});
  return plan;
}

}  // namespace fathom::cluster
