#include "plan_schedule.h"

#include <fmt/format.h>

#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "dist/closed_form.h"
#include "dist/timeline.h"
#include "plan.h"

namespace fathom::app {
namespace {

using cluster::Worksheet;
using namespace dist;

/// A schedule of the command line's shape, played.
struct Played {
  Schedule schedule;
  Simulation simulation;
  ClosedForm formula;
  bool described;  // by the formula, which knows no communication
};

StageTimes stage_times(const PlanScheduleArguments& o) {
  return {o.forward, o.backward, o.weight,
          o.overlapped.value_or(o.forward + o.backward + o.weight)};
}

Played play_schedule(ScheduleKind kind, const PlanScheduleArguments& o) {
  const StageTimes times = stage_times(o);
  Played played;
  played.schedule = make_schedule(kind, o.stages, o.micro_batches);
  played.simulation = simulate(played.schedule, {{times}, o.communication, o.optimizer});
  played.formula = closed_form(kind, o.stages, o.micro_batches, times);
  played.described = played.formula.exact && o.communication == 0;
  return played;
}

// What is wrong with sizes and times is wrong with the command line.
Played play_or_refuse(ScheduleKind kind, const PlanScheduleArguments& o) {
  try {
    return play_schedule(kind, o);
  } catch (const Error& e) {
    throw UsageError(e.what(), e.hint());
  }
}

double share_of_bubble(const Played& p) {
  return p.simulation.total > 0 ? p.simulation.bubble() / p.simulation.total : 0;
}

std::string formula_text(const Played& p) {
  const ClosedForm& f = p.formula;
  return fmt::format("{} = {} = {:g}{}", f.formula, f.numbers, f.bubble,
                     p.described ? "" : ", which does not describe this case");
}

void assume_times(Worksheet& sheet, const PlanScheduleArguments& o) {
  sheet.assume("forward (F)", o.forward, "", "--forward");
  sheet.assume("backward for the input", o.backward, "", "--backward");
  sheet.assume("backward for the weights (W)", o.weight, "", "--weight");
  sheet.assume("full backward (B)", o.backward + o.weight, "", "sum of the two");
  if (o.kind.empty() || has_overlapped_pairs(schedule_kind_of(o.kind)))
    sheet.assume("overlapped pair (F&B)", stage_times(o).overlapped, "",
                 o.overlapped ? "--overlapped" : "not given: F + B, nothing gained by overlap");
  sheet.assume("communication", o.communication, "",
               "--communication: delays a message, occupies no rank");
  sheet.assume("optimizer", o.optimizer, "", "--optimizer: after the last gradient of all ranks");
  sheet.assume("activations", "chunks from the start of F to the end of B or W",
               "a chunk is one stage's share of one micro-batch");
}

void assume_validity(Worksheet& sheet, const Played& p) {
  sheet.assume(fmt::format("formula of {}", name_of(p.schedule.kind)),
               fmt::format("exact {}{}", p.formula.condition,
                           p.schedule.ranks.size() > 1 ? ", without communication" : ""),
               p.described ? "so here" : "not so here: the simulation counts");
}

// Rank by rank, where the step goes: the rows of the ISCA paper's Table 4.
void add_rank_table(Worksheet& sheet, const Simulation& simulation) {
  auto& table = sheet.table("ranks", {{"rank", ""},
                                      {"forward", ""},
                                      {"backward", ""},
                                      {"backward_input", ""},
                                      {"backward_weight", ""},
                                      {"overlapped", ""},
                                      {"optimizer", ""},
                                      {"bubble", ""},
                                      {"peak_activations", ""}});
  double rank = 0;
  for (const RankTimes& r : simulation.ranks)
    table.rows.push_back({rank++, r.forward.time, r.backward.time, r.backward_input.time,
                          r.backward_weight.time, r.overlapped.time, r.optimizer.time, r.bubble,
                          double(r.peak_activations)});
}

Worksheet sheet_of(const Played& p, const PlanScheduleArguments& o) {
  Worksheet sheet;
  sheet.fact("kind", o.kind);
  sheet.result("stages", o.stages, "");
  sheet.result("micro_batches", o.micro_batches, "");
  sheet.result("ranks", double(p.simulation.ranks.size()), "");
  sheet.result("total", p.simulation.total, "", "end of the last operation of the simulation");
  sheet.result("bubble", p.simulation.bubble(), "", "idle time of the rank with most, simulated");
  sheet.result("bubble_formula", p.formula.bubble, "", formula_text(p));
  sheet.result("bubble_share", share_of_bubble(p), "%", "bubble / total");
  sheet.result("peak_activations", p.simulation.peak_activations(), "",
               "chunks kept at once by the rank with most, simulated");
  sheet.result("peak_activations_formula", p.formula.peak_activations, "",
               has_overlapped_pairs(p.schedule.kind) ? "PP + 1" : "PP, or all micro-batches");
  sheet.result("stages_per_rank", p.simulation.stages_per_rank(), "",
               "copies of the parameters, in units of a stage's");
  add_rank_table(sheet, p.simulation);
  assume_times(sheet, o);
  assume_validity(sheet, p);
  return sheet;
}

std::string title_of(const Played& p) {
  const Simulation& s = p.simulation;
  return fmt::format(
      "{}: {} stages, {} micro-batches: total {:g}, bubble {:g} ({:.1f}%), "
      "peak activations {}",
      name_of(p.schedule.kind), p.schedule.stages, p.schedule.micro_batches, s.total, s.bubble(),
      100 * share_of_bubble(p), s.peak_activations());
}

void write_files(const std::vector<Played>& all, const PlanScheduleArguments& o) {
  std::vector<Timeline> timelines;
  std::string operations;
  for (const Played& p : all) {
    timelines.push_back({title_of(p), &p.schedule, &p.simulation});
    if (!o.operations.empty())
      operations += fmt::format("# {}\n{}", title_of(p), to_string(p.schedule));
  }
  if (!o.svg.empty()) write_text_file(o.svg, timeline_svg(timelines));
  if (!o.perfetto.empty()) write_text_file(o.perfetto, timeline_trace(timelines));
  if (!o.operations.empty()) write_text_file(o.operations, operations);
}

void add_row(Worksheet::Table& table, const Played& p) {
  const Simulation& s = p.simulation;
  table.rows.push_back({std::string(name_of(p.schedule.kind)), double(s.ranks.size()), s.total,
                        s.bubble(), p.formula.bubble, share_of_bubble(p),
                        double(s.peak_activations()), double(p.formula.peak_activations),
                        double(s.stages_per_rank())});
}

int compare(const GlobalOptions& global, const PlanScheduleArguments& o) {
  Worksheet sheet;
  auto& table = sheet.table("schedules", {{"kind", ""},
                                          {"ranks", ""},
                                          {"total", ""},
                                          {"bubble", ""},
                                          {"bubble_formula", ""},
                                          {"bubble_share", "%"},
                                          {"peak_activations", ""},
                                          {"peak_activations_formula", ""},
                                          {"stages_per_rank", ""}});
  std::vector<Played> all;
  for (ScheduleKind kind : kScheduleKinds) {
    try {
      all.push_back(play_schedule(kind, o));
      add_row(table, all.back());
    } catch (const Error& e) {
      sheet.fact(fmt::format("not_possible_{}", name_of(kind)),
                 fmt::format("{}; {}", e.what(), e.hint()));
    }
  }
  if (all.empty()) play_or_refuse(ScheduleKind::k1F1B, o);
  if (o.overlapped && !has_overlapped_pairs(all.back().schedule.kind))
    throw UsageError("--overlapped has no influence: no possible schedule has overlapped pairs",
                     "leave it out, or choose a shape that DualPipe can run");
  assume_times(sheet, o);
  for (const Played& p : all) {
    if (o.explain)
      sheet.result(fmt::format("bubble_{}", name_of(p.schedule.kind)), p.simulation.bubble(), "",
                   formula_text(p));
    assume_validity(sheet, p);
  }
  write_files(all, o);
  print(sheet, global, o.explain);
  return 0;
}

}  // namespace

int run_plan_schedule(const GlobalOptions& global, const PlanScheduleArguments& o) {
  if (o.kind.empty()) return compare(global, o);
  const ScheduleKind kind = schedule_kind_of(o.kind);
  if (o.overlapped && !has_overlapped_pairs(kind))
    throw UsageError(
        fmt::format("--overlapped has no influence: {} has no overlapped pairs", o.kind),
        "leave it out, or choose dualpipe or dualpipev");
  std::vector<Played> played;
  played.push_back(play_or_refuse(kind, o));
  write_files(played, o);
  print(sheet_of(played.front(), o), global, o.explain);
  return 0;
}

}  // namespace fathom::app
