#include "dist/schedule_check.h"

#include <fmt/format.h>

#include <map>
#include <tuple>

#include "base/error.h"
#include "dist/schedule_play.h"

namespace fathom::dist {
namespace {

bool carries_forward(OperationKind kind) {
  return runs_forward(kind) || kind == OperationKind::kSendActivation ||
         kind == OperationKind::kReceiveActivation;
}

bool carries_backward(OperationKind kind) {
  return runs_backward_input(kind) || runs_backward_weight(kind) ||
         kind == OperationKind::kSendGradient || kind == OperationKind::kReceiveGradient;
}

bool exists(const Chunk& c, const Schedule& s) {
  return c.micro_batch >= 0 && c.micro_batch < s.micro_batches && c.stage >= 0 &&
         c.stage < s.stages;
}

bool in_range(const Operation& o, int rank, const Schedule& s) {
  if (carries_forward(o.kind) && !exists(o.forward, s)) return false;
  if (carries_backward(o.kind) && !exists(o.backward, s)) return false;
  const bool is_rank = o.peer >= 0 && static_cast<size_t>(o.peer) < s.ranks.size();
  return !(is_send(o.kind) || is_receive(o.kind)) || (is_rank && o.peer != rank);
}

/// How often each part of a chunk runs, and where.
struct Runs {
  int forwards = 0, inputs = 0, weights = 0;
  int rank = -1;
  bool elsewhere = false;  // not all on one rank
};

class Checker {
 public:
  explicit Checker(const Schedule& schedule) : schedule_(schedule) {}

  std::vector<std::string> run() {
    count();
    check_runs();
    for (const auto& [message, count] : messages_)
      if (count != std::pair(1, 1))
        add("{} messages like 'send {}({},{}) to {}' of rank {} are sent and {} received",
            count.first, std::get<0>(message) ? "F" : "B", std::get<1>(message),
            std::get<2>(message), std::get<4>(message), std::get<3>(message), count.second);
    check_optimizers();
    for (const StuckRank& stuck : play(schedule_, {}).stuck) add("{}", to_string(stuck, schedule_));
    return std::move(problems_);
  }

 private:
  // Activation or gradient, micro-batch, stage, from, to.
  using Message = std::tuple<bool, int, int, int, int>;

  template <class... Values>
  void add(fmt::format_string<Values...> format, Values&&... values) {
    problems_.push_back(fmt::format(format, std::forward<Values>(values)...));
  }

  void count() {
    runs_.resize(static_cast<size_t>(schedule_.stages) * schedule_.micro_batches);
    for (size_t rank = 0; rank < schedule_.ranks.size(); ++rank)
      for (const Operation& o : schedule_.ranks[rank]) {
        count_runs(o, static_cast<int>(rank));
        count_message(o, static_cast<int>(rank));
      }
  }

  void count_runs(const Operation& o, int rank) {
    if (runs_forward(o.kind)) ++on(o.forward, rank).forwards;
    if (runs_backward_input(o.kind)) ++on(o.backward, rank).inputs;
    if (runs_backward_weight(o.kind)) ++on(o.backward, rank).weights;
  }

  Runs& on(const Chunk& c, int rank) {
    Runs& runs = runs_[static_cast<size_t>(c.micro_batch) * schedule_.stages + c.stage];
    runs.elsewhere |= runs.rank >= 0 && runs.rank != rank;
    runs.rank = rank;
    return runs;
  }

  void count_message(const Operation& o, int rank) {
    const bool activation = carries_forward(o.kind);
    const Chunk& c = activation ? o.forward : o.backward;
    if (is_send(o.kind)) ++messages_[{activation, c.micro_batch, c.stage, rank, o.peer}].first;
    if (is_receive(o.kind)) ++messages_[{activation, c.micro_batch, c.stage, o.peer, rank}].second;
  }

  void check_runs() {
    for (size_t i = 0; i < runs_.size(); ++i) {
      const Runs& r = runs_[i];
      const auto stages = static_cast<size_t>(schedule_.stages);
      if (r.forwards != 1 || r.inputs != 1 || r.weights != 1)
        add("micro-batch {} has {} F, {} B and {} W on stage {}", i / stages, r.forwards, r.inputs,
            r.weights, i % stages);
      if (r.elsewhere)
        add("micro-batch {} runs on different ranks on stage {}", i / stages, i % stages);
    }
  }

  void check_optimizers() {
    for (size_t rank = 0; rank < schedule_.ranks.size(); ++rank) {
      const auto& list = schedule_.ranks[rank];
      size_t first = 0;
      while (first < list.size() && list[first].kind != OperationKind::kOptimizer) ++first;
      if (first + 1 != list.size()) add("rank {} does not end in its only optimizer", rank);
    }
  }

  const Schedule& schedule_;
  std::vector<Runs> runs_;
  std::map<Message, std::pair<int, int>> messages_;  // sent, received
  std::vector<std::string> problems_;
};

}  // namespace

void check_ranges(const Schedule& schedule) {
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank)
    for (const Operation& o : schedule.ranks[rank])
      if (!in_range(o, static_cast<int>(rank), schedule))
        throw Error(
            fmt::format("operation '{}' of rank {} is outside the schedule", to_string(o), rank),
            fmt::format("it has {} micro-batches, {} stages and {} ranks", schedule.micro_batches,
                        schedule.stages, schedule.ranks.size()));
}

std::vector<std::string> check_schedule(const Schedule& schedule) {
  try {
    check_ranges(schedule);
  } catch (const Error& e) {
    return {e.what()};
  }
  return Checker(schedule).run();
}

}  // namespace fathom::dist
