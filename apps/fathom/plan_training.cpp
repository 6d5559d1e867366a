// fathom plan memory, train and search.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cluster/memory.h"
#include "cluster/picture.h"
#include "cluster/search.h"
#include "cluster/train.h"
#include "plan.h"

namespace fathom::app {
namespace {

cluster::Layout layout_of(const PlanLayoutArguments& o) {
  return {o.gpus,  o.pp,          o.ep,     o.tp, dist::schedule_kind_of(o.schedule),
          o.batch, o.micro_batch, o.seq_len};
}

cluster::MemoryRecipe recipe_of(const PlanLayoutArguments& o) {
  return {o.precision == "fp8", o.recompute == "on"};
}

double imbalance_of(std::optional<double> given, const cluster::ModelShape& shape, int64_t ep) {
  if (given) check_sends_to_experts("--expert-imbalance", shape, ep);
  return given.value_or(cluster::kTrainingImbalance);
}

double seconds_of(std::string_view text, std::string_view phases) {
  double value = -1;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || end != text.data() + text.size() || !(value >= 0 && value < 1e9))
    throw UsageError(fmt::format("--phases {}: '{}' is not a number of seconds", phases, text),
                     "for example --phases 1F=1.13,1B=1.99,1W=0.48,1F1B=13.95");
  return value;
}

// "1F=1.13,1B=1.99,1W=0.48,1F1B=13.95": every phase once.
cluster::PhaseTimes phases_of(std::string_view text) {
  cluster::PhaseTimes times;
  const std::pair<std::string_view, double*> names[] = {{"1F", &times.forward},
                                                        {"1B", &times.backward},
                                                        {"1W", &times.weight},
                                                        {"1F1B", &times.overlapped}};
  for (const auto& [name, value] : names) *value = -1;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    const size_t equals = part.find('=');
    for (const auto& [name, value] : names)
      if (equals != part.npos && part.substr(0, equals) == name)
        *value = seconds_of(part.substr(equals + 1), text);
  }
  for (const auto& [name, value] : names)
    if (*value < 0)
      throw UsageError(fmt::format("--phases {}: {} is missing", text, name),
                       "for example --phases 1F=1.13,1B=1.99,1W=0.48,1F1B=13.95");
  return times;
}

}  // namespace

int run_plan_memory(const GlobalOptions& global, const PlanMemoryArguments& options) {
  const PlanInput input(options.plan);
  cluster::Worksheet sheet;
  const cluster::Layout layout = layout_of(options.layout);
  const cluster::MemoryRecipe recipe = recipe_of(options.layout);
  plan_memory(input.model(), layout, recipe, input.gpu(), options.layout.reserve, sheet);
  input.check_used();
  if (!options.plan.svg.empty())
    draw(options.plan.svg,
         draw_memory(
             rank_memory(input.model(), layout, recipe), input.gpu().at("memory_gib"),
             fmt::format("{} on {}: {}", input.model().name, input.gpu().id(), layout.name())));
  print(sheet, global, options.plan.explain);
  return 0;
}

int run_plan_train(const GlobalOptions& global, const PlanTrainArguments& options) {
  const PlanInput input(options.plan);
  cluster::Worksheet sheet;
  cluster::TrainOptions train;
  train.layout = layout_of(options.layout);
  if (!options.phases.empty()) train.phases = phases_of(options.phases);
  train.expert_imbalance = imbalance_of(options.expert_imbalance, input.model(), train.layout.ep);
  train.tokens = options.tokens;
  train.other_gpu_hours = options.other_gpu_hours;
  train.recipe = recipe_of(options.layout);
  train.reserved_share = options.layout.reserve;
  const cluster::TrainPlan plan = plan_train(input.model(), input.gpu(), train, sheet);
  input.check_used();
  draw(options.plan.svg, draw_step(plan, fmt::format("{} on {}: {}", input.model().name,
                                                     input.gpu().id(), train.layout.name())));
  print(sheet, global, options.plan.explain);
  return 0;
}

int run_plan_search(const GlobalOptions& global, const PlanSearchArguments& options) {
  const PlanInput input(options.plan);
  cluster::Worksheet sheet;
  cluster::SearchOptions search;
  search.gpus = options.gpus;
  search.batch = options.layout.batch;
  search.micro_batch = options.layout.micro_batch;
  search.seq_len = options.layout.seq_len;
  search.max_tp = options.max_tp;
  search.expert_imbalance =
      imbalance_of(options.expert_imbalance, input.model(),
                   *std::max_element(options.gpus.begin(), options.gpus.end()));
  search.tokens = options.tokens;
  search.recipe = recipe_of(options.layout);
  search.reserved_share = options.layout.reserve;
  if (!options.schedules.empty()) search.schedules.clear();
  for (const std::string& name : options.schedules)
    search.schedules.push_back(dist::schedule_kind_of(name));
  search.threads = global.threads;
  std::optional<Progress> progress;
  search.progress = [&](int64_t done, int64_t all) {
    if (!progress) progress.emplace("trying layouts", static_cast<double>(all), "layout");
    progress->update(static_cast<double>(done));
  };
  const cluster::SearchResult result = search_layouts(input.model(), input.gpu(), search, sheet);
  progress.reset();
  input.check_used();
  draw(options.plan.svg,
       draw_search(result, fmt::format("{} on {}", input.model().name, input.gpu().id())));
  print(sheet, global, options.plan.explain);
  return 0;
}

}  // namespace fathom::app
