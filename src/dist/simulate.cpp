#include "dist/simulate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "dist/schedule_check.h"
#include "dist/schedule_play.h"

namespace fathom::dist {
namespace {

void check_time(const char* what, double time) {
  if (!std::isfinite(time) || time < 0)
    throw Error(fmt::format("the time of {} is {}", what, time), "times are 0 or more");
}

void check_times(const Schedule& schedule, const StepTimes& times) {
  const size_t n = times.stages.size();
  if (n != 1 && n != static_cast<size_t>(schedule.stages))
    throw Error(fmt::format("{} stage times for {} stages", n, schedule.stages),
                "give one for all stages or one for each");
  for (const StageTimes& stage : times.stages) {
    check_time("a forward", stage.forward);
    check_time("a backward for the input", stage.backward_input);
    check_time("a backward for the weights", stage.backward_weight);
    check_time("an overlapped pair", stage.overlapped);
  }
  check_time("communication", times.communication);
  check_time("the optimizer", times.optimizer);
}

/// Where operations of a kind are counted; null for messages.
Part* part_of(RankTimes& rank, OperationKind kind) {
  switch (kind) {
    case OperationKind::kForward:
      return &rank.forward;
    case OperationKind::kBackward:
      return &rank.backward;
    case OperationKind::kBackwardInput:
      return &rank.backward_input;
    case OperationKind::kBackwardWeight:
      return &rank.backward_weight;
    case OperationKind::kOverlapped:
      return &rank.overlapped;
    case OperationKind::kOptimizer:
      return &rank.optimizer;
    default:
      return nullptr;
  }
}

int peak_activations(const std::vector<Operation>& list) {
  int kept = 0, peak = 0;
  for (const Operation& o : list) {
    if (runs_forward(o.kind)) peak = std::max(peak, ++kept);
    if (runs_backward_weight(o.kind)) --kept;
  }
  return peak;
}

int stages_held(const std::vector<Operation>& list) {
  std::set<int> stages;
  for (const Operation& o : list)
    if (runs_forward(o.kind)) stages.insert(o.forward.stage);
  return static_cast<int>(stages.size());
}

/// Waits, added up: unlike total minus work this is exactly 0 where a rank never waits.
double idle_time(const std::vector<Operation>& list, const std::vector<Span>& spans, double total) {
  double idle = 0, end = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    if (is_send(list[i].kind) || is_receive(list[i].kind)) continue;
    idle += spans[i].start - end;
    end = spans[i].end;
  }
  return idle + (total - end);
}

RankTimes rank_times(const std::vector<Operation>& list, const std::vector<Span>& spans,
                     const StepTimes& times, double total) {
  RankTimes rank;
  for (const Operation& o : list) {
    Part* part = part_of(rank, o.kind);
    if (part == nullptr) continue;
    ++part->count;
    part->time += duration(o, times);
  }
  rank.bubble = idle_time(list, spans, total);
  rank.peak_activations = peak_activations(list);
  rank.stages = stages_held(list);
  return rank;
}

template <class T>
T largest(const std::vector<RankTimes>& ranks, T RankTimes::*member) {
  T value{};
  for (const RankTimes& rank : ranks) value = std::max(value, rank.*member);
  return value;
}

}  // namespace

const StageTimes& StepTimes::of(int stage) const {
  return stages.size() == 1 ? stages.front() : stages.at(static_cast<size_t>(stage));
}

double duration(const Operation& o, const StepTimes& times) {
  switch (o.kind) {
    case OperationKind::kForward:
      return times.of(o.forward.stage).forward;
    case OperationKind::kBackward:
      return times.of(o.backward.stage).backward();
    case OperationKind::kBackwardInput:
      return times.of(o.backward.stage).backward_input;
    case OperationKind::kBackwardWeight:
      return times.of(o.backward.stage).backward_weight;
    case OperationKind::kOverlapped:
      return (times.of(o.forward.stage).overlapped + times.of(o.backward.stage).overlapped) / 2;
    case OperationKind::kOptimizer:
      return times.optimizer;
    default:
      return 0;
  }
}

double Simulation::bubble() const {
  return largest(ranks, &RankTimes::bubble);
}
int Simulation::peak_activations() const {
  return largest(ranks, &RankTimes::peak_activations);
}
int Simulation::stages_per_rank() const {
  return largest(ranks, &RankTimes::stages);
}

Simulation simulate(const Schedule& schedule, const StepTimes& times) {
  check_times(schedule, times);
  check_ranges(schedule);
  Play played = play(schedule, times);
  if (!played.stuck.empty())
    throw Error("the schedule cannot be played: " + to_string(played.stuck.front(), schedule),
                "check_schedule() lists all that is wrong with it");
  Simulation result;
  result.spans = std::move(played.spans);
  for (const auto& spans : result.spans)
    if (!spans.empty()) result.total = std::max(result.total, spans.back().end);
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank)
    result.ranks.push_back(
        rank_times(schedule.ranks[rank], result.spans[rank], times, result.total));
  return result;
}

}  // namespace fathom::dist
