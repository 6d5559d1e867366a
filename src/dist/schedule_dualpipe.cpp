#include <array>
#include <deque>

#include "base/error.h"
#include "dist/schedule_lists.h"

namespace fathom::dist {
namespace {

/// One of the two streams of micro-batches that pass a rank: where it meets the network there, and
/// how many forwards and backwards of it have been issued.
struct Stream {
  int stage;
  int first_micro_batch;
  int forwards = 0, backwards = 0;
};

/// Writes a rank's list in the terms of the published algorithm: phase 0 is the stream that enters
/// nearest to this rank, phase 1 the other.
class Writer {
 public:
  Writer(Stream phase0, Stream phase1) : streams_{phase0, phase1} {}

  void forward(int phase) { list_.push_back({OperationKind::kForward, next_forward(phase)}); }
  void backward(int phase) {
    list_.push_back({OperationKind::kBackward, {}, next_backward(phase)});
  }
  void backward_input(int phase) {
    deferred_.push_back(next_backward(phase));
    list_.push_back({OperationKind::kBackwardInput, {}, deferred_.back()});
  }
  void backward_weight() {
    FATHOM_ASSERT(!deferred_.empty());
    list_.push_back({OperationKind::kBackwardWeight, {}, deferred_.front()});
    deferred_.pop_front();
  }
  void overlapped(int forward_phase, int backward_phase) {
    const Chunk f = next_forward(forward_phase);
    list_.push_back({OperationKind::kOverlapped, f, next_backward(backward_phase)});
  }

  std::vector<Operation> take() { return std::move(list_); }

 private:
  Chunk next_forward(int phase) {
    Stream& s = streams_[static_cast<size_t>(phase)];
    return {s.first_micro_batch + s.forwards++, s.stage};
  }
  Chunk next_backward(int phase) {
    Stream& s = streams_[static_cast<size_t>(phase)];
    return {s.first_micro_batch + s.backwards++, s.stage};
  }

  std::array<Stream, 2> streams_;
  std::deque<Chunk> deferred_;  // backwards whose weight gradients are still to come
  std::vector<Operation> list_;
};

/// Step 6 of the algorithm: the last backwards in pairs, the later half without their weight
/// gradients, which fill the drain.
void last_backwards(Writer& w, int depth) {
  const int switch_at = (depth + 1) / 2;
  for (int i = 0; i <= depth; ++i) {
    const bool odd = depth % 2 == 1;
    const bool split1 = i > switch_at || (i == switch_at && odd);
    const bool split0 = i >= switch_at;
    split1 ? w.backward_input(1) : w.backward(1);
    split0 ? w.backward_input(0) : w.backward(0);
  }
}

/// The eight steps of spec E.3 and E.4, which differ only in their counts: `outside` ranks lie
/// between this one and the middle of the pipeline (the turning point of the V), `depth` between it
/// and where phase 0 enters; step 4 runs `steady` times. At the middle nothing has come back yet
/// when step 4 begins, so that its first pair runs unoverlapped.
std::vector<Operation> eight_steps(Writer w, int outside, int depth, int steady) {
  for (int i = 0; i < 2 * outside; ++i) w.forward(0);
  for (int i = 0; i <= depth; ++i) w.forward(0), w.forward(1);
  for (int i = 0; i < outside; ++i) w.backward_input(1), w.backward_weight(), w.forward(1);
  for (int i = 0; i < steady; ++i) {
    if (i == 0 && outside == 0) {
      w.forward(0), w.backward(1);
    } else {
      w.overlapped(0, 1);
    }
    w.overlapped(1, 0);
  }
  for (int i = 0; i < outside; ++i) w.backward(1), w.overlapped(1, 0);
  last_backwards(w, depth);
  for (int i = 0; i < outside; ++i) w.backward_weight(), w.backward_input(0);
  for (int i = 0; i <= depth; ++i) w.backward_weight();
  return w.take();
}

}  // namespace

std::vector<Operation> list_dualpipe(int rank, int stages, int micro_batches) {
  const int half = stages / 2;
  const bool mirrored = rank >= half;  // then the stream that enters at the last rank is phase 0
  const int depth = mirrored ? stages - 1 - rank : rank;
  const Stream down{rank, 0};
  const Stream up{stages - 1 - rank, micro_batches / 2};
  return eight_steps(mirrored ? Writer(up, down) : Writer(down, up), half - depth - 1, depth,
                     micro_batches / 2 - stages + depth + 1);
}

std::vector<Operation> list_dualpipev(int rank, int stages, int micro_batches) {
  const int ranks = stages / 2;
  return eight_steps(Writer({rank, 0}, {stages - 1 - rank, 0}), ranks - rank - 1, rank,
                     micro_batches - stages + rank + 1);
}

}  // namespace fathom::dist
