#include "dist/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "dist/schedule_lists.h"

namespace fathom::dist {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"1f1b", "zb1p", "dualpipe", "dualpipev"};
constexpr int kMostStages = 1024;  // the least DualPipe of so many is within kMostChunks
constexpr int kMostMicroBatches = 65536;
constexpr int64_t kMostChunks = 1 << 21;  // lists and times of about half a GiB

std::string text_of(const Chunk& chunk) {
  return fmt::format("({},{})", chunk.micro_batch, chunk.stage);
}

[[noreturn]] void refuse(ScheduleKind kind, const std::string& what, const std::string& nearest) {
  throw Error(fmt::format("{}: {}", name_of(kind), what), "the nearest legal choice: " + nearest);
}

void check_range(ScheduleKind kind, std::string_view what, int value, int most) {
  if (value < 1 || value > most)
    refuse(kind, fmt::format("{} {} are not between 1 and {}", value, what, most),
           fmt::format("{} {}", std::clamp(value, 1, most), what));
}

// Both two-stage-a-rank schedules pair stage r with stage PP-1-r.
void check_even_stages(ScheduleKind kind, int stages) {
  if (stages % 2 == 0) return;
  const std::string below = stages > 1 ? fmt::format("{} or ", stages - 1) : "";
  refuse(kind, fmt::format("the number of stages must be even, not {}", stages),
         fmt::format("{}{} stages", below, stages + 1));
}

void check_micro_batches(ScheduleKind kind, int stages, int micro_batches) {
  const bool even = kind == ScheduleKind::kDualPipe;
  const int least = even ? 2 * stages : stages;
  const int nearest = std::max(least, micro_batches + (even ? micro_batches % 2 : 0));
  if (nearest == micro_batches) return;
  refuse(kind,
         fmt::format("{} stages need {} least {} micro-batches, not {}", stages,
                     even ? "an even number of at" : "at", least, micro_batches),
         fmt::format("{} micro-batches", nearest));
}

void check_legal(ScheduleKind kind, int stages, int micro_batches) {
  check_range(kind, "stages", stages, kMostStages);
  check_range(kind, "micro-batches", micro_batches, kMostMicroBatches);
  if (has_overlapped_pairs(kind)) {
    check_even_stages(kind, stages);
    check_micro_batches(kind, stages, micro_batches);
  }
  if (int64_t{stages} * micro_batches > kMostChunks)
    refuse(kind,
           fmt::format("{} stages of {} micro-batches are more than {} chunks", stages,
                       micro_batches, kMostChunks),
           fmt::format("{} micro-batches", kMostChunks / stages / 2 * 2));
}

}  // namespace

std::string_view name_of(ScheduleKind kind) {
  return kNames[static_cast<size_t>(kind)];
}

ScheduleKind schedule_kind_of(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end())
    throw Error(fmt::format("there is no pipeline schedule '{}'", name),
                "choose 1f1b, zb1p, dualpipe or dualpipev");
  return static_cast<ScheduleKind>(found - kNames.begin());
}

bool has_overlapped_pairs(ScheduleKind kind) {
  return kind == ScheduleKind::kDualPipe || kind == ScheduleKind::kDualPipeV;
}

bool runs_forward(OperationKind kind) {
  return kind == OperationKind::kForward || kind == OperationKind::kOverlapped;
}

bool runs_backward_input(OperationKind kind) {
  return kind == OperationKind::kBackward || kind == OperationKind::kBackwardInput ||
         kind == OperationKind::kOverlapped;
}

bool runs_backward_weight(OperationKind kind) {
  return kind == OperationKind::kBackward || kind == OperationKind::kBackwardWeight ||
         kind == OperationKind::kOverlapped;
}

bool is_send(OperationKind kind) {
  return kind == OperationKind::kSendActivation || kind == OperationKind::kSendGradient;
}

bool is_receive(OperationKind kind) {
  return kind == OperationKind::kReceiveActivation || kind == OperationKind::kReceiveGradient;
}

Schedule make_schedule(ScheduleKind kind, int stages, int micro_batches) {
  check_legal(kind, stages, micro_batches);
  Schedule schedule{kind, stages, micro_batches, {}};
  const int ranks = kind == ScheduleKind::kDualPipeV ? stages / 2 : stages;
  for (int rank = 0; rank < ranks; ++rank) {
    switch (kind) {
      case ScheduleKind::k1F1B:
        schedule.ranks.push_back(list_1f1b(rank, stages, micro_batches));
        break;
      case ScheduleKind::kZB1P:
        schedule.ranks.push_back(list_zb1p(rank, stages, micro_batches));
        break;
      case ScheduleKind::kDualPipe:
        schedule.ranks.push_back(list_dualpipe(rank, stages, micro_batches));
        break;
      case ScheduleKind::kDualPipeV:
        schedule.ranks.push_back(list_dualpipev(rank, stages, micro_batches));
        break;
    }
  }
  add_messages(schedule);
  for (auto& list : schedule.ranks) list.push_back({OperationKind::kOptimizer});
  return schedule;
}

std::string to_string(const Operation& o) {
  switch (o.kind) {
    case OperationKind::kForward:
      return "F" + text_of(o.forward);
    case OperationKind::kBackward:
      return "B" + text_of(o.backward);
    case OperationKind::kBackwardInput:
      return "Bi" + text_of(o.backward);
    case OperationKind::kBackwardWeight:
      return "W" + text_of(o.backward);
    case OperationKind::kOverlapped:
      return fmt::format("FB({},{}|{},{})", o.forward.micro_batch, o.forward.stage,
                         o.backward.micro_batch, o.backward.stage);
    case OperationKind::kSendActivation:
      return fmt::format("send F{} to {}", text_of(o.forward), o.peer);
    case OperationKind::kReceiveActivation:
      return fmt::format("receive F{} from {}", text_of(o.forward), o.peer);
    case OperationKind::kSendGradient:
      return fmt::format("send B{} to {}", text_of(o.backward), o.peer);
    case OperationKind::kReceiveGradient:
      return fmt::format("receive B{} from {}", text_of(o.backward), o.peer);
    case OperationKind::kOptimizer:
      return "optimizer";
  }
  FATHOM_ASSERT(false);
}

std::string to_string(const Schedule& schedule) {
  std::string text;
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    text += fmt::format("rank {}:", rank);
    for (const Operation& operation : schedule.ranks[rank])
      text += " " + to_string(operation) + ";";
    text.back() = '\n';
  }
  return text;
}

}  // namespace fathom::dist
