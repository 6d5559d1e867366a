#include "cluster/layout.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "cluster/nearest.h"

namespace fathom::cluster {
namespace {

using dist::ScheduleKind;

// Fewest micro-batches that a schedule keeps its ranks busy with.
int64_t least_micro_batches(const Layout& l) {
  switch (l.schedule) {
    case ScheduleKind::kDualPipe:
    case ScheduleKind::kDualPipeV:
      return 2 * l.pp;
    default:
      return 1;
  }
}

void check_experts(const Layout& l, const ModelShape& shape, std::vector<std::string>& problems) {
  if (!shape.is_moe() && l.ep != 1)
    problems.push_back(fmt::format("EP = {}: {} is dense; the nearest is 1", l.ep, shape.name));
  if (shape.is_moe() && shape.experts % l.ep != 0)
    problems.push_back(fmt::format("EP = {} does not divide {} experts; the nearest is {}", l.ep,
                                   shape.experts, nearest_divisor(l.ep, shape.experts)));
  if (shape.is_moe() && (l.dp() * l.tp) % l.ep != 0)
    problems.push_back(fmt::format("EP = {} does not divide DP x TP = {}; the nearest is {}", l.ep,
                                   l.dp() * l.tp, nearest_divisor(l.ep, l.dp() * l.tp)));
}

void check_batch(const Layout& l, std::vector<std::string>& problems) {
  const int64_t unit = l.dp() * l.micro_batch;
  if (l.batch % unit != 0) {
    problems.push_back(fmt::format(
        "batch = {} sequences does not divide over DP x micro-batch = {}; the nearest is {}",
        l.batch, unit, nearest_multiple(l.batch, unit)));
    return;
  }
  if (l.micro_batches() < least_micro_batches(l))
    problems.push_back(fmt::format("{} micro-batches are too few for {} over PP = {}; at least {}",
                                   l.micro_batches(), dist::name_of(l.schedule), l.pp,
                                   least_micro_batches(l)));
  if (l.schedule == ScheduleKind::kDualPipe && l.micro_batches() % 2 != 0)
    problems.push_back(
        fmt::format("{} micro-batches: DualPipe needs an even number; the nearest "
                    "batch is {}",
                    l.micro_batches(), l.batch + unit));
}

std::vector<int64_t> layers_of_stages(int64_t layers, int64_t stages) {
  const int64_t each = (layers + stages - 1) / stages, rest = layers - each * (stages - 1);
  std::vector<int64_t> counts(static_cast<size_t>(stages), each);
  if (rest >= 0) {
    counts.back() = rest;
    return counts;
  }
  for (size_t i = 0; i < counts.size(); ++i)
    counts[i] = layers / stages + (static_cast<int64_t>(i) < layers % stages ? 1 : 0);
  return counts;
}

void add_layer(Stage& stage, bool moe) {
  ++(moe ? stage.moe_layers : stage.dense_layers);
}

}  // namespace

std::string Layout::name() const {
  return fmt::format("PP{} EP{} TP{} DP{} {}", pp, ep, tp, dp(), dist::name_of(schedule));
}

std::vector<std::string> problems_of(const Layout& l, const ModelShape& shape) {
  std::vector<std::string> problems;
  if (l.gpus % (l.pp * l.tp) != 0 || l.dp() == 0) {
    problems.push_back(
        fmt::format("{} GPUs do not divide into PP x TP = {} x {}; the nearest is {}", l.gpus, l.pp,
                    l.tp, nearest_multiple(l.gpus, l.pp * l.tp)));
    return problems;
  }
  if (l.stages() > shape.layers)
    problems.push_back(fmt::format("PP = {} makes {} stages of {} layers; at most {}", l.pp,
                                   l.stages(), shape.layers, shape.layers));
  if (l.schedule == ScheduleKind::kDualPipe && l.pp % 2 != 0)
    problems.push_back(
        fmt::format("PP = {}: DualPipe needs an even number; the nearest is {}", l.pp, l.pp + 1));
  if (shape.heads % l.tp != 0)
    problems.push_back(fmt::format("TP = {} does not divide {} heads; the nearest is {}", l.tp,
                                   shape.heads, nearest_divisor(l.tp, shape.heads)));
  check_experts(l, shape, problems);
  check_batch(l, problems);
  return problems;
}

void check(const Layout& layout, const ModelShape& shape) {
  const std::vector<std::string> problems = problems_of(layout, shape);
  if (!problems.empty())
    throw Error(fmt::format("{}", fmt::join(problems, "; ")),
                "fathom plan search lists the layouts that are possible");
}

std::vector<Stage> stages_of(const ModelShape& shape, int64_t count) {
  std::vector<Stage> stages(static_cast<size_t>(count));
  const std::vector<int64_t> layers = layers_of_stages(shape.layers, count);
  int64_t layer = 0;
  for (size_t i = 0; i < stages.size(); ++i)
    for (int64_t k = 0; k < layers[i]; ++k) add_layer(stages[i], shape.is_moe_layer(layer++));
  stages.front().embedding = true;
  Stage& last = stages.back();
  for (int64_t k = 0; k < shape.mtp; ++k) add_layer(last, shape.is_moe_layer(shape.layers + k));
  last.mtp = shape.mtp;
  last.heads = 1 + shape.mtp;
  return stages;
}

std::vector<std::vector<int64_t>> stages_of_ranks(const Layout& layout) {
  const bool two =
      layout.schedule == ScheduleKind::kDualPipe || layout.schedule == ScheduleKind::kDualPipeV;
  std::vector<std::vector<int64_t>> ranks(static_cast<size_t>(layout.pp));
  for (int64_t r = 0; r < layout.pp; ++r) {
    ranks[static_cast<size_t>(r)] = {r};
    if (two) ranks[static_cast<size_t>(r)].push_back(layout.stages() - 1 - r);
  }
  return ranks;
}

}  // namespace fathom::cluster
