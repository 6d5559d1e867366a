#include "cluster/train.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "cluster/flops.h"

namespace fathom::cluster {
namespace {

constexpr double kGib = 1024.0 * 1024 * 1024, kDay = 86400, kHour = 3600;

// Gradients are reduced in FP32 and weights gathered in the format of the products, at the NIC's
// rate; then each GPU updates its share in memory. Mean over the GPUs of a pipeline.
double optimizer_seconds(const Layout& l, const std::vector<RankMemory>& ranks,
                         const MemoryRecipe& recipe, const Rates& rates) {
  const double bytes = 4 + (recipe.fp8 ? 1 : 2);
  const auto dense_copies = static_cast<double>(l.dp());
  const auto expert_copies = static_cast<double>(l.expert_copies());
  double seconds = 0;
  for (const RankMemory& m : ranks) {
    const double sent =
        m.dense_parameters * (1 - 1 / dense_copies) + m.expert_parameters * (1 - 1 / expert_copies);
    seconds += sent * bytes / rates.nic() + 2 * m.optimizer / rates.memory();
  }
  return seconds / static_cast<double>(ranks.size());
}

double imbalance_of(const ModelShape& shape, const TrainOptions& o) {
  return shape.is_moe() && o.layout.ep > 1 ? o.expert_imbalance : 1;
}

// Time of the phases beyond what they would take with free exchanges.
double exposed(const ModelShape& shape, const Entry& gpu, const TrainOptions& o,
               const dist::Schedule& schedule, double with, Worksheet& sheet) {
  Worksheet unused;
  const Rates rates(gpu, unused);
  const Layout& l = o.layout;
  Layout local = l;
  local.ep = 1;
  const std::vector<Stage> stages = stages_of(shape, l.stages());
  const double head = head_pass_seconds(shape, l, gpu, rates, sheet);
  const double imbalance = imbalance_of(shape, o);
  const LayerTimes dense = layer_times(shape, false, local, gpu, rates, imbalance);
  const LayerTimes moe =
      shape.is_moe() ? layer_times(shape, true, local, gpu, rates, imbalance) : dense;
  const auto times =
      times_of_stages(stages, dense, moe, head, 2 * message_seconds(shape, l, rates));
  return with - phase_times(schedule, times).total();
}

void assume(const ModelShape& shape, const TrainOptions& o, Worksheet& sheet) {
  const std::vector<Stage> stages = stages_of(shape, o.layout.stages());
  sheet.assume("stages",
               fmt::format("{} layers each, {} in the last with {} passes through the head",
                           stages.front().layers(), stages.back().layers(), stages.back().heads),
               "this plan");
  sheet.assume("operator times",
               o.phases ? "--phases, spread over the layers that the schedule runs"
                        : "measured times of DeepSeek-V3's layer with balanced experts, scaled by "
                          "work; messages between stages lengthen pairs",
               o.phases ? "given" : "DeepSeek profile-data, train.json");
  if (!o.phases && shape.is_moe() && o.layout.ep > 1) {
    assume_imbalance(o.expert_imbalance, sheet);
    sheet.assume("exchanges outside pairs", "the normal kernels' rates, nothing beside them",
                 "DeepEP");
  }
  sheet.assume("optimizer",
               "FP32 gradients reduced and weights gathered at the NIC's rate; the sum of "
               "DualPipe's two copies runs in the drain",
               "this plan");
  sheet.assume("phases",
               "seconds: mean over the GPUs of a pipeline, a full backward counts under 1B and 1W; "
               "first_gpu: of the pipeline's first, a full backward counts under 1B",
               "this plan");
}

void check_imbalance(double imbalance) {
  if (!(imbalance >= 1))
    throw Error(
        fmt::format("an expert imbalance of {}: the busiest GPU has less than the mean", imbalance),
        "1 is perfect balance");
}

void phase_results(const TrainPlan& p, Worksheet& sheet) {
  auto& table = sheet.table("step_phases",
                            {{"phase", ""}, {"seconds", "s"}, {"share", "%"}, {"first_gpu", "s"}});
  const auto row = [&](const char* name, double seconds, double first) {
    table.rows.push_back({name, seconds, seconds / p.step, first});
  };
  row("1F", p.phases.forward, p.first.forward);
  row("bubble", p.bubble, p.first_bubble);
  row("1B", p.phases.backward, p.first.backward);
  row("1W", p.phases.weight, p.first.weight);
  row("1F1B", p.phases.overlapped, p.first.overlapped);
  row("optimizer", p.optimizer, p.optimizer);
}

PhaseTimes times_of(const dist::RankTimes& rank) {
  return {rank.forward.time, rank.backward.time + rank.backward_input.time,
          rank.backward_weight.time, rank.overlapped.time};
}

void speed_results(const ModelShape& shape, const Entry& gpu, const TrainOptions& o, TrainPlan& p,
                   Worksheet& sheet) {
  const Layout& l = o.layout;
  const auto tokens = static_cast<double>(l.tokens_per_step());
  const auto gpus = static_cast<double>(l.gpus);
  p.tokens_per_day = sheet.result(
      "tokens_per_day", tokens / p.step * kDay, "",
      fmt::format("{} sequences x {} tokens / {:.5g} s x 86400", l.batch, l.seq_len, p.step));
  const double rate = tokens / p.step / gpus, peak = gpu.at("bf16_tflops", sheet) * 1e12;
  const auto mfu = [&](const char* name, bool causal) {
    const double flops =
        training_flops(shape, static_cast<double>(l.seq_len), causal, false) * rate;
    sheet.result(fmt::format("tflops_{}", name), flops / 1e12, "TFLOP/s",
                 fmt::format("{:.5g} FLOP a token x {:.5g} tokens/s a GPU", flops / rate, rate));
    return sheet.result(fmt::format("mfu_{}", name), flops / peak, "%",
                        fmt::format("{:.4g} / {:.4g} FLOP/s", flops, peak));
  };
  p.mfu_causal = mfu("causal", true);
  p.mfu_non_causal = mfu("non_causal", false);
  p.gpu_hours_per_trillion = sheet.result(
      "gpu_hours_per_trillion_tokens", 1e12 / tokens * p.step * gpus / kHour, "",
      fmt::format("1e12 / {:.6g} tokens x {:.5g} s x {} GPUs / 3600", tokens, p.step, l.gpus));
  p.gpu_hours = sheet.result("gpu_hours", p.gpu_hours_per_trillion * o.tokens / 1e12, "",
                             fmt::format("for {:.5g} tokens", o.tokens));
  p.days = sheet.result("days", p.gpu_hours / gpus / 24, "days");
  const double price = gpu.at("price_per_gpu_hour", sheet);
  p.cost = sheet.result(
      "cost", (p.gpu_hours + o.other_gpu_hours) * price, "$",
      fmt::format("({:.6g} + {:.6g} GPU hours) x ${}", p.gpu_hours, o.other_gpu_hours, price));
}

}  // namespace

void assume_imbalance(double imbalance, Worksheet& sheet) {
  sheet.assume("busiest GPU's experts", fmt::format("{} times the mean", imbalance),
               imbalance == kTrainingImbalance
                   ? "--expert-imbalance; chosen to match ISCA Table 4, because the loads of "
                     "that run are not published"
                   : "--expert-imbalance");
}

TrainPlan plan_train(const ModelShape& shape, const Entry& gpu, const TrainOptions& options,
                     Worksheet& sheet) {
  const Layout& l = options.layout;
  check(l, shape);
  check_imbalance(options.expert_imbalance);
  sheet.fact("model", shape.name);
  sheet.fact("hardware", gpu.name());
  sheet.fact("layout", l.name());
  assume(shape, options, sheet);
  const Rates rates(gpu, sheet);
  const dist::Schedule schedule = dist::make_schedule(l.schedule, static_cast<int>(l.stages()),
                                                      static_cast<int>(l.micro_batches()));
  dist::StepTimes times;
  times.stages =
      stage_times(shape, l, gpu, schedule, options.phases, imbalance_of(shape, options), sheet);
  times.communication = message_seconds(shape, l, rates);
  const std::vector<RankMemory> memory = rank_memory(shape, l, options.recipe);
  const dist::Simulation simulation = simulate(schedule, times);
  const double pipeline = simulation.total;
  TrainPlan p;
  p.phases = phase_times(schedule, times.stages);
  p.bubble = pipeline - p.phases.total();
  p.first = times_of(simulation.ranks.front());
  p.first_bubble = pipeline - p.first.total();
  p.optimizer = optimizer_seconds(l, memory, options.recipe, rates);
  p.step = sheet.result(
      "step_s", pipeline + p.optimizer, "s",
      fmt::format("{:.5g} s of {} over {} micro-batches + {:.4g} s optimizer", pipeline,
                  dist::name_of(l.schedule), l.micro_batches(), p.optimizer));
  phase_results(p, sheet);
  if (!options.phases)
    p.exposed_communication = sheet.result(
        "exposed_communication_s", exposed(shape, gpu, options, schedule, p.phases.total(), sheet),
        "s", "dispatch and combine outside overlapped pairs");
  speed_results(shape, gpu, options, p, sheet);
  double largest = 0;
  for (const RankMemory& m : memory) largest = std::max(largest, m.total());
  p.memory_gib = sheet.result("memory_gib", largest / kGib, "GiB", "of the fullest GPU");
  p.fits = p.memory_gib <= gpu.at("memory_gib", sheet) * (1 - options.reserved_share);
  sheet.fact("fits", p.fits ? "yes" : "no: see fathom plan memory");
  return p;
}

}  // namespace fathom::cluster
