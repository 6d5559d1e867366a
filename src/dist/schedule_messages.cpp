#include "dist/schedule_lists.h"

namespace fathom::dist {
namespace {

/// Which rank runs a chunk: forward and backward of one are always on the same.
class Owners {
 public:
  explicit Owners(const Schedule& s)
      : stages_(s.stages), owner_(static_cast<size_t>(s.stages) * s.micro_batches, -1) {
    for (size_t rank = 0; rank < s.ranks.size(); ++rank)
      for (const Operation& o : s.ranks[rank])
        if (runs_forward(o.kind)) owner_[index(o.forward)] = static_cast<int>(rank);
  }

  /// The rank of a chunk's neighbour, or -1 when that is this rank or there is no such stage.
  int other(int rank, Chunk chunk, int stage_step) const {
    chunk.stage += stage_step;
    if (chunk.stage < 0 || chunk.stage >= stages_) return -1;
    const int owner = owner_[index(chunk)];
    return owner == rank ? -1 : owner;
  }

 private:
  size_t index(const Chunk& c) const {
    return static_cast<size_t>(c.micro_batch) * stages_ + c.stage;
  }
  int stages_;
  std::vector<int> owner_;
};

void add_receives(std::vector<Operation>& list, const Owners& owners, int rank,
                  const Operation& o) {
  if (runs_forward(o.kind)) {
    const int peer = owners.other(rank, o.forward, -1);
    const Chunk made{o.forward.micro_batch, o.forward.stage - 1};
    if (peer >= 0) list.push_back({OperationKind::kReceiveActivation, made, {}, peer});
  }
  if (runs_backward_input(o.kind)) {
    const int peer = owners.other(rank, o.backward, 1);
    const Chunk made{o.backward.micro_batch, o.backward.stage + 1};
    if (peer >= 0) list.push_back({OperationKind::kReceiveGradient, {}, made, peer});
  }
}

void add_sends(std::vector<Operation>& list, const Owners& owners, int rank, const Operation& o) {
  if (runs_forward(o.kind)) {
    const int peer = owners.other(rank, o.forward, 1);
    if (peer >= 0) list.push_back({OperationKind::kSendActivation, o.forward, {}, peer});
  }
  if (runs_backward_input(o.kind)) {
    const int peer = owners.other(rank, o.backward, -1);
    if (peer >= 0) list.push_back({OperationKind::kSendGradient, {}, o.backward, peer});
  }
}

}  // namespace

void add_messages(Schedule& schedule) {
  const Owners owners(schedule);
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    std::vector<Operation> list;
    for (const Operation& operation : schedule.ranks[rank]) {
      add_receives(list, owners, static_cast<int>(rank), operation);
      list.push_back(operation);
      add_sends(list, owners, static_cast<int>(rank), operation);
    }
    schedule.ranks[rank] = std::move(list);
  }
}

}  // namespace fathom::dist
