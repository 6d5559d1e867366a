#include "cluster/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>

#include "base/error.h"
#include "base/thread_pool.h"

namespace fathom::cluster {
namespace {

constexpr double kGib = 1024.0 * 1024 * 1024;

std::vector<int64_t> divisors(int64_t whole, int64_t largest) {
  std::vector<int64_t> all;
  for (int64_t d = 1; d <= std::min(whole, largest); ++d)
    if (whole % d == 0) all.push_back(d);
  return all;
}

std::vector<Layout> all_layouts(const ModelShape& shape, const SearchOptions& o) {
  std::vector<Layout> layouts;
  for (const int64_t gpus : o.gpus)
    for (const int64_t pp : divisors(gpus, shape.layers))
      for (int64_t tp = 1; tp <= o.max_tp; tp *= 2)
        for (const int64_t ep : divisors(std::max<int64_t>(1, shape.experts), gpus))
          for (const dist::ScheduleKind schedule : o.schedules)
            layouts.push_back({gpus, pp, ep, tp, schedule, o.batch, o.micro_batch, o.seq_len});
  return layouts;
}

double largest_gib(const ModelShape& shape, const Layout& layout, const MemoryRecipe& recipe) {
  double largest = 0;
  for (const RankMemory& m : rank_memory(shape, layout, recipe))
    largest = std::max(largest, m.total());
  return largest / kGib;
}

struct Trial {
  Layout layout;
  double gib = 0;  ///< of the fullest GPU; 0: the layout is illegal
  TrainPlan plan;  ///< where it fits
  Worksheet sheet;
  std::exception_ptr error;
};

void try_layout(const ModelShape& shape, const Entry& gpu, const SearchOptions& o, double usable,
                Trial& trial) {
  if (!problems_of(trial.layout, shape).empty()) return;
  trial.gib = largest_gib(shape, trial.layout, o.recipe);
  if (trial.gib > usable) return;
  const TrainOptions train = {trial.layout,    {}, o.expert_imbalance, o.tokens, 0, o.recipe,
                              o.reserved_share};
  trial.plan = plan_train(shape, gpu, train, trial.sheet);
}

std::vector<Trial> try_all(const ModelShape& shape, const Entry& gpu, const SearchOptions& o,
                           double usable) {
  std::vector<Trial> trials;
  for (const Layout& layout : all_layouts(shape, o)) trials.push_back({layout, 0, {}, {}, {}});
  const auto all = static_cast<int64_t>(trials.size());
  std::atomic<int64_t> done = 0;
  ThreadPool pool(o.threads);
  pool.for_each(all, [&](int64_t i, int thread) {
    Trial& trial = trials[static_cast<size_t>(i)];
    try {
      try_layout(shape, gpu, o, usable, trial);
    } catch (...) {
      trial.error = std::current_exception();
    }
    const int64_t finished = ++done;
    if (thread == 0 && o.progress) o.progress(finished, all);
  });
  for (const Trial& trial : trials)
    if (trial.error) std::rethrow_exception(trial.error);
  return trials;
}

// Whether a is as good as b in everything and better in something.
bool dominates(const TrainPlan& a, const TrainPlan& b) {
  const bool as_good = a.days <= b.days && a.cost <= b.cost && a.memory_gib <= b.memory_gib;
  return as_good && (a.days < b.days || a.cost < b.cost || a.memory_gib < b.memory_gib);
}

void mark_pareto(std::vector<Candidate>& candidates) {
  for (Candidate& c : candidates)
    c.pareto = std::none_of(candidates.begin(), candidates.end(),
                            [&](const Candidate& other) { return dominates(other.plan, c.plan); });
}

void write_table(const SearchResult& result, Worksheet& sheet) {
  auto& table = sheet.table("pareto", {{"gpus", ""},
                                       {"layout", ""},
                                       {"step", "s"},
                                       {"mfu_causal", "%"},
                                       {"bubble", "%"},
                                       {"days", ""},
                                       {"cost", "$"},
                                       {"memory", "GiB"}});
  for (const Candidate& c : result.candidates)
    if (c.pareto)
      table.rows.push_back({static_cast<double>(c.layout.gpus), c.layout.name(), c.plan.step,
                            c.plan.mfu_causal, c.plan.bubble / c.plan.step, c.plan.days,
                            c.plan.cost, c.plan.memory_gib});
}

void write_head(const ModelShape& shape, const Entry& gpu, const SearchOptions& o,
                Worksheet& sheet) {
  sheet.fact("model", shape.name);
  sheet.fact("hardware", gpu.name());
  sheet.assume("batch", fmt::format("{} sequences of {} tokens", o.batch, o.seq_len),
               "--batch, --seq-len");
  if (shape.is_moe()) assume_imbalance(o.expert_imbalance, sheet);
  sheet.assume("trained on", o.tokens, "tokens", "--tokens");
  sheet.assume("memory left free", o.reserved_share, "%", "--reserve");
}

}  // namespace

SearchResult search_layouts(const ModelShape& shape, const Entry& gpu, const SearchOptions& options,
                            Worksheet& sheet) {
  write_head(shape, gpu, options, sheet);
  SearchResult result;
  const double usable = gpu.at("memory_gib", sheet) * (1 - options.reserved_share);
  double least = 0;
  for (const Trial& trial : try_all(shape, gpu, options, usable)) {
    if (trial.gib == 0) {
      ++result.illegal;
    } else if (trial.gib > usable) {
      ++result.out_of_memory;
      least = least == 0 ? trial.gib : std::min(least, trial.gib);
    } else {
      result.candidates.push_back({trial.layout, trial.plan});
      for (const auto& a : trial.sheet.assumptions())
        if (a.name.starts_with(gpu.id())) sheet.assume(a.name, a.value, a.source);
    }
  }
  if (result.candidates.empty())
    throw Error(fmt::format("no layout is possible: {} are illegal, {} exceed {:.1f} GiB",
                            result.illegal, result.out_of_memory, usable),
                result.out_of_memory > 0
                    ? fmt::format("the smallest needs {:.1f} GiB: try more --gpus", least)
                    : "fathom plan train says what is wrong with a given layout");
  std::stable_sort(
      result.candidates.begin(), result.candidates.end(),
      [](const Candidate& a, const Candidate& b) { return a.plan.days < b.plan.days; });
  mark_pareto(result.candidates);
  sheet.result("feasible", static_cast<double>(result.candidates.size()), "");
  sheet.result("illegal", static_cast<double>(result.illegal), "",
               "sizes that do not divide, or too few micro-batches");
  sheet.result("out_of_memory", static_cast<double>(result.out_of_memory), "",
               fmt::format("more than {:.1f} GiB", usable));
  write_table(result, sheet);
  return result;
}

}  // namespace fathom::cluster
