#include "dist/schedule_play.h"

#include <fmt/format.h>

#include <algorithm>

namespace fathom::dist {
namespace {

/// Where one chunk's results are. A tensor exists on the rank that made it, and after a receive on
/// the one that uses it: in every schedule a chunk's result has one user.
struct Result {
  int made_by = -1, sent_to = -1, received_by = -1;
  double arrival = 0;  // of the message

  bool is_on(int rank) const { return made_by == rank || received_by == rank; }
};

struct ChunkState {
  Result activation, gradient;
  int backward_input_on = -1;  // rank whose weight gradient is still to come
};

class Player {
 public:
  Player(const Schedule& schedule, const StepTimes& times)
      : schedule_(schedule),
        times_(times),
        chunks_(static_cast<size_t>(schedule.stages) * schedule.micro_batches),
        clocks_(schedule.ranks.size(), 0.0) {
    play_.spans.resize(schedule.ranks.size());
  }

  Play run() {
    while (advance_all()) {
    }
    for (size_t rank = 0; rank < schedule_.ranks.size(); ++rank) {
      const size_t next = play_.spans[rank].size();
      if (next == schedule_.ranks[rank].size()) continue;
      const Operation& o = schedule_.ranks[rank][next];
      const std::string why(missing(static_cast<int>(rank), o));
      play_.stuck.push_back({static_cast<int>(rank), next, why});
    }
    return std::move(play_);
  }

 private:
  bool advance_all() {
    bool any = false;
    for (size_t rank = 0; rank < schedule_.ranks.size(); ++rank) any |= advance(rank);
    return run_optimizers() || any;
  }

  // Runs what the rank can run; the optimizer waits for all.
  bool advance(size_t rank) {
    const auto& list = schedule_.ranks[rank];
    auto& spans = play_.spans[rank];
    const size_t before = spans.size();
    while (spans.size() < list.size() &&
           missing(static_cast<int>(rank), list[spans.size()]).empty())
      run(rank, list[spans.size()]);
    return spans.size() > before;
  }

  bool at_optimizer(size_t rank) const {
    const auto& list = schedule_.ranks[rank];
    const size_t next = play_.spans[rank].size();
    return next < list.size() && list[next].kind == OperationKind::kOptimizer;
  }

  bool run_optimizers() {
    for (size_t rank = 0; rank < clocks_.size(); ++rank)
      if (!at_optimizer(rank)) return false;
    const double start = clocks_.empty() ? 0 : *std::max_element(clocks_.begin(), clocks_.end());
    for (size_t rank = 0; rank < clocks_.size(); ++rank) {
      clocks_[rank] = start + times_.optimizer;
      play_.spans[rank].push_back({start, clocks_[rank]});
    }
    return !clocks_.empty();
  }

  void run(size_t rank, const Operation& o) {
    const double start = clocks_[rank];
    double end = start + duration(o, times_);
    if (o.kind == OperationKind::kReceiveActivation)
      end = std::max(end, at(o.forward).activation.arrival);
    if (o.kind == OperationKind::kReceiveGradient)
      end = std::max(end, at(o.backward).gradient.arrival);
    clocks_[rank] = end;
    play_.spans[rank].push_back({start, end});
    record(static_cast<int>(rank), o, end);
  }

  void record(int rank, const Operation& o, double end) {
    if (runs_forward(o.kind)) at(o.forward).activation.made_by = rank;
    if (runs_backward_input(o.kind)) at(o.backward).gradient.made_by = rank;
    if (o.kind == OperationKind::kBackwardInput) at(o.backward).backward_input_on = rank;
    const double arrival = end + times_.communication;
    if (o.kind == OperationKind::kSendActivation) send(at(o.forward).activation, o.peer, arrival);
    if (o.kind == OperationKind::kSendGradient) send(at(o.backward).gradient, o.peer, arrival);
    if (o.kind == OperationKind::kReceiveActivation) at(o.forward).activation.received_by = rank;
    if (o.kind == OperationKind::kReceiveGradient) at(o.backward).gradient.received_by = rank;
  }

  static void send(Result& result, int peer, double arrival) {
    result.sent_to = peer;
    result.arrival = arrival;
  }

  /// Why the operation cannot run now; empty when it can.
  std::string_view missing(int rank, const Operation& o) const {
    if (runs_forward(o.kind) && o.forward.stage > 0 && !previous(o).activation.is_on(rank))
      return "its input activation is not there";
    if (runs_backward_input(o.kind)) {
      if (at(o.backward).activation.made_by != rank) return "its forward has not run here";
      if (o.backward.stage + 1 < schedule_.stages && !following(o).gradient.is_on(rank))
        return "the gradient of its output is not there";
    }
    switch (o.kind) {
      case OperationKind::kBackwardWeight:
        return when(at(o.backward).backward_input_on != rank,
                    "its backward for the input has not run here");
      case OperationKind::kSendActivation:
        return when(at(o.forward).activation.made_by != rank, "what it sends is not there");
      case OperationKind::kSendGradient:
        return when(at(o.backward).gradient.made_by != rank, "what it sends is not there");
      case OperationKind::kReceiveActivation:
        return when(!sent(at(o.forward).activation, o.peer, rank), "nothing has been sent");
      case OperationKind::kReceiveGradient:
        return when(!sent(at(o.backward).gradient, o.peer, rank), "nothing has been sent");
      case OperationKind::kOptimizer:
        return "another rank never comes to its optimizer";
      default:
        return {};
    }
  }

  static std::string_view when(bool condition, std::string_view text) {
    return condition ? text : std::string_view();
  }
  static bool sent(const Result& result, int from, int to) {
    return result.made_by == from && result.sent_to == to;
  }

  size_t index(const Chunk& c) const {
    return static_cast<size_t>(c.micro_batch) * schedule_.stages + c.stage;
  }
  ChunkState& at(const Chunk& c) { return chunks_[index(c)]; }
  const ChunkState& at(const Chunk& c) const { return chunks_[index(c)]; }
  const ChunkState& previous(const Operation& o) const { return chunks_[index(o.forward) - 1]; }
  const ChunkState& following(const Operation& o) const { return chunks_[index(o.backward) + 1]; }

  const Schedule& schedule_;
  const StepTimes& times_;
  std::vector<ChunkState> chunks_;
  std::vector<double> clocks_;
  Play play_;
};

}  // namespace

Play play(const Schedule& schedule, const StepTimes& times) {
  return Player(schedule, times).run();
}

std::string to_string(const StuckRank& stuck, const Schedule& schedule) {
  return fmt::format("rank {} never runs its operation {}, {}: {}", stuck.rank, stuck.operation,
                     to_string(schedule.ranks[stuck.rank][stuck.operation]), stuck.missing);
}

}  // namespace fathom::dist
