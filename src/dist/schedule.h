#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::dist {

/// The pipeline schedules that Fathom knows (spec E.2). PP below is the number of stages that the
/// network is cut into.
///   k1F1B       PP ranks, one stage each.
///   kZB1P       the same with the backward split, weight gradients filling the bubble (ZB-H1).
///   kDualPipe   PP ranks, two stages each (r and PP-1-r): micro-batches enter at both ends.
///   kDualPipeV  PP/2 ranks, two stages each (r and PP-1-r): all micro-batches enter at rank 0, run
///               down to the last rank and back.
enum class ScheduleKind : uint8_t { k1F1B, kZB1P, kDualPipe, kDualPipeV };
inline constexpr ScheduleKind kScheduleKinds[] = {
    ScheduleKind::k1F1B, ScheduleKind::kZB1P, ScheduleKind::kDualPipe, ScheduleKind::kDualPipeV};

/// "1f1b", "zb1p", "dualpipe", "dualpipev".
std::string_view name_of(ScheduleKind kind);
/// Throws Error listing the names when there is none such.
ScheduleKind schedule_kind_of(std::string_view name);
/// Whether two chunks run as one overlapped pair in schedules of this kind.
bool has_overlapped_pairs(ScheduleKind kind);

/// A chunk of work: one stage's layers applied to one micro-batch.
struct Chunk {
  int micro_batch = -1;
  int stage = -1;
  bool operator==(const Chunk&) const = default;
};

enum class OperationKind : uint8_t {
  kForward,            ///< F: activations of `forward`
  kBackward,           ///< full backward of `backward`: gradients of its input and its weights
  kBackwardInput,      ///< B: gradient of `backward`'s input alone; the weights' follows as W
  kBackwardWeight,     ///< W: gradients of the weights of `backward`
  kOverlapped,         ///< F of `forward` and full backward of `backward`, as one rearranged pair
  kSendActivation,     ///< output of `forward` goes to `peer`; does not block
  kReceiveActivation,  ///< output of `forward` has arrived from `peer`; blocks until then
  kSendGradient,       ///< input gradient of `backward` goes to `peer`; does not block
  kReceiveGradient,    ///< input gradient of `backward` has arrived from `peer`; blocks until then
  kOptimizer,          ///< updates the rank's parameters once every rank has all its gradients
};

/// One entry of a rank's list. A message is identified by its kind and chunk, the one that made
/// it: a transport may match it by that as a tag.
struct Operation {
  OperationKind kind = OperationKind::kOptimizer;
  Chunk forward{};   ///< of operations that run or carry a forward
  Chunk backward{};  ///< of operations that run or carry a backward
  int peer = -1;     ///< rank at the other end of a message
  bool operator==(const Operation&) const = default;
};

bool runs_forward(OperationKind kind);
/// Produces the gradient of a chunk's input.
bool runs_backward_input(OperationKind kind);
/// Produces the gradients of a chunk's weights.
bool runs_backward_weight(OperationKind kind);
bool is_send(OperationKind kind);
bool is_receive(OperationKind kind);

/// What every rank does in one training step, in order. Ranks meet only through messages and at
/// the optimizer.
struct Schedule {
  ScheduleKind kind{};
  int stages = 0;
  int micro_batches = 0;
  std::vector<std::vector<Operation>> ranks;
};

/// The schedule of a kind. Throws Error naming the nearest legal choice unless
///   every kind: at least one stage and one micro-batch;
///   DualPipe: PP even, micro-batches even and at least 2·PP;
///   DualPipeV: PP even, micro-batches at least PP.
/// In DualPipe the first half of the micro-batches enters at rank 0, the second at rank PP-1.
Schedule make_schedule(ScheduleKind kind, int stages, int micro_batches);

/// "F(3,0)": micro-batch 3, stage 0; "FB(3,0|1,7)", "Bi(1,7)", "W(1,7)", "send F(3,0) to 1".
std::string to_string(const Operation& operation);
/// A line a rank.
std::string to_string(const Schedule& schedule);

}  // namespace fathom::dist
