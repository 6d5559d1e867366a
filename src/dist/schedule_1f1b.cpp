#include <algorithm>

#include "dist/schedule_lists.h"

// 1F1B and ZB1P: one stage a rank, a warm-up of forwards, then one forward and one backward in
// turn, then the backwards that are left.

namespace fathom::dist {
namespace {

Operation forward(int micro_batch, int stage) {
  return {OperationKind::kForward, {micro_batch, stage}};
}

Operation backward(OperationKind kind, int micro_batch, int stage) {
  return {kind, {}, {micro_batch, stage}};
}

}  // namespace

std::vector<Operation> list_1f1b(int rank, int stages, int micro_batches) {
  std::vector<Operation> list;
  const int ahead = std::min(stages - rank, micro_batches);  // forwards before the first backward
  for (int m = 0; m < ahead; ++m) list.push_back(forward(m, rank));
  for (int m = 0; m < micro_batches; ++m) {
    list.push_back(backward(OperationKind::kBackward, m, rank));
    if (m + ahead < micro_batches) list.push_back(forward(m + ahead, rank));
  }
  return list;
}

// Rank r has PP-r micro-batches under way as in 1F1B, and holds back the weight gradients of r
// more: every rank keeps PP. The last rank has PP-1 weight gradients to fill the drain of the
// pipeline.
std::vector<Operation> list_zb1p(int rank, int stages, int micro_batches) {
  std::vector<Operation> list;
  const int ahead = std::min(stages - rank, micro_batches);
  for (int m = 0; m < ahead; ++m) list.push_back(forward(m, rank));
  for (int m = 0; m < micro_batches; ++m) {
    list.push_back(backward(OperationKind::kBackwardInput, m, rank));
    if (m >= rank) list.push_back(backward(OperationKind::kBackwardWeight, m - rank, rank));
    if (m + ahead < micro_batches) list.push_back(forward(m + ahead, rank));
  }
  for (int m = std::max(0, micro_batches - rank); m < micro_batches; ++m)
    list.push_back(backward(OperationKind::kBackwardWeight, m, rank));
  return list;
}

}  // namespace fathom::dist
