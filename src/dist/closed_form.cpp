#include "dist/closed_form.h"

#include <fmt/format.h>

#include <algorithm>

namespace fathom::dist {
namespace {

void fill_1f1b(ClosedForm& c, int stages, const StageTimes& t) {
  c.bubble = (stages - 1) * (t.forward + t.backward());
  c.formula = "(PP-1)·(F+B)";
  c.numbers = fmt::format("({}-1)·({:g}+{:g})", stages, t.forward, t.backward());
  c.condition = "for any times";
  c.exact = true;
}

// Each rank but the last waits PP-1 input gradients at the start, the last PP-1 forwards: weight
// gradients that take longer than either cannot all hide in that.
void fill_zb1p(ClosedForm& c, int stages, int micro_batches, const StageTimes& t) {
  c.bubble = (stages - 1) * (t.forward + t.backward() - 2 * t.backward_weight);
  c.formula = "(PP-1)·(F+B-2W)";
  c.numbers =
      fmt::format("({}-1)·({:g}+{:g}-2·{:g})", stages, t.forward, t.backward(), t.backward_weight);
  c.condition = "when W is at most F and B-W, and micro-batches are at least PP";
  c.exact = stages == 1 ||
            (t.backward_weight <= std::min(t.forward, t.backward_input) && micro_batches >= stages);
}

// The two directions keep step only when a forward takes as long as an input gradient.
void fill_dualpipe(ClosedForm& c, int stages, const StageTimes& t) {
  const int half = stages / 2;
  c.bubble = (half - 1) * (t.overlapped + t.backward() - 3 * t.backward_weight);
  c.formula = "(PP/2-1)·(F&B+B-3W)";
  c.numbers = fmt::format("({}/2-1)·({:g}+{:g}-3·{:g})", stages, t.overlapped, t.backward(),
                          t.backward_weight);
  c.condition =
      "when F equals B-W and is at least W, and F&B is at least F and B and at most their sum";
  const double longer = std::max(t.forward, t.backward());
  const double sum = (t.forward + t.backward()) * (1 + 1e-12);  // decimal fractions add inexactly
  c.exact = half == 1 || (t.forward == t.backward_input && t.backward_weight <= t.forward &&
                          t.overlapped >= longer && t.overlapped <= sum);
}

}  // namespace

ClosedForm closed_form(ScheduleKind kind, int stages, int micro_batches, const StageTimes& times) {
  ClosedForm c;
  const bool pairs = has_overlapped_pairs(kind);
  c.ranks = kind == ScheduleKind::kDualPipeV ? stages / 2 : stages;
  c.stages_per_rank = pairs ? 2 : 1;
  c.peak_activations = pairs ? stages + 1 : std::min(stages, micro_batches);
  if (kind == ScheduleKind::k1F1B) fill_1f1b(c, stages, times);
  if (kind == ScheduleKind::kZB1P) fill_zb1p(c, stages, micro_batches, times);
  if (pairs) fill_dualpipe(c, stages, times);
  return c;
}

}  // namespace fathom::dist
