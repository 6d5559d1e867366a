#include "dist/simulate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "dist/closed_form.h"

namespace fathom::dist {
namespace {

StepTimes uniform(double forward, double input, double weight, double overlapped) {
  return {{{forward, input, weight, overlapped}}};
}

// All times are small multiples of a power of two, so that sums are exact in whatever order.
const std::vector<StageTimes> kTimes = {
    {1, 1, 1, 3}, {1, 1, 1, 2.5}, {1, 1, 0.5, 2}, {2, 2, 1, 4.25}, {1.5, 1.5, 0.25, 3.25}};

std::vector<int> legal_micro_batches(ScheduleKind kind, int stages) {
  const int least = kind == ScheduleKind::kDualPipe ? 2 * stages : stages;
  return {least, least + 2, least + 4, 3 * least};
}

// The formulas of the technical report's Table 2, exactly, from playing the lists.
TEST(ClosedForms, EqualTheSimulation) {
  int compared = 0;
  for (ScheduleKind kind : kScheduleKinds)
    for (int stages : {2, 4, 6, 8, 16})
      for (int micro_batches : legal_micro_batches(kind, stages)) {
        const Schedule schedule = make_schedule(kind, stages, micro_batches);
        for (const StageTimes& times : kTimes) {
          const ClosedForm formula = closed_form(kind, stages, micro_batches, times);
          const Simulation s = simulate(schedule, {{times}});
          ASSERT_TRUE(formula.exact);
          EXPECT_EQ(s.bubble(), formula.bubble)
              << name_of(kind) << " " << stages << "x" << micro_batches << ": " << formula.numbers;
          EXPECT_EQ(s.peak_activations(), formula.peak_activations);
          EXPECT_EQ(s.stages_per_rank(), formula.stages_per_rank);
          EXPECT_EQ(static_cast<int>(s.ranks.size()), formula.ranks);
          ++compared;
        }
      }
  EXPECT_EQ(compared, 4 * 5 * 4 * 5);
}

TEST(ClosedForms, HoldForUnequalTimesWhereTheySaySo) {
  const StageTimes times{2, 3, 1.5, 5};  // F, B for the input, W
  for (ScheduleKind kind : {ScheduleKind::k1F1B, ScheduleKind::kZB1P}) {
    const ClosedForm formula = closed_form(kind, 8, 20, times);
    EXPECT_TRUE(formula.exact);
    EXPECT_EQ(simulate(make_schedule(kind, 8, 20), {{times}}).bubble(), formula.bubble);
  }
  EXPECT_FALSE(closed_form(ScheduleKind::kDualPipe, 8, 20, times).exact);
  EXPECT_FALSE(closed_form(ScheduleKind::kZB1P, 8, 20, {1, 1, 2, 4}).exact);
  EXPECT_FALSE(closed_form(ScheduleKind::kZB1P, 8, 7, {1, 1, 1, 3}).exact);
}

TEST(ClosedForms, FewMicroBatchesKeepFewerActivations) {
  for (int micro_batches : {1, 3}) {
    const Simulation s = simulate(make_schedule(ScheduleKind::k1F1B, 8, micro_batches), {});
    EXPECT_EQ(s.peak_activations(), micro_batches);
    EXPECT_EQ(s.bubble(), 7 * 3.0);
  }
}

// Published simulation results (spec E.3, E.4).
TEST(Simulate, DualPipeAsPublished) {
  const Simulation small =
      simulate(make_schedule(ScheduleKind::kDualPipe, 8, 20), uniform(1, 1, 1, 3));
  for (const RankTimes& rank : small.ranks) {
    EXPECT_EQ(rank.bubble, 6);
    EXPECT_EQ(rank.peak_activations, 9);
  }
  const Simulation large =
      simulate(make_schedule(ScheduleKind::kDualPipe, 16, 60), uniform(1, 1, 1, 3));
  for (const RankTimes& rank : large.ranks) {
    EXPECT_EQ(rank.bubble, 14);
    EXPECT_EQ(rank.peak_activations, 17);
  }
  const Simulation v =
      simulate(make_schedule(ScheduleKind::kDualPipeV, 8, 10), uniform(1, 1, 1, 3));
  EXPECT_EQ(v.ranks.size(), 4u);
  for (const RankTimes& rank : v.ranks) {
    EXPECT_EQ(rank.bubble, 6);
    EXPECT_EQ(rank.peak_activations, 9);
  }
}

TEST(Simulate, DecimalFractionsAreNoBubble) {
  const StepTimes times = uniform(0.1, 0.1, 0.1, 0.3);
  EXPECT_EQ(simulate(make_schedule(ScheduleKind::k1F1B, 1, 20), times).bubble(), 0);
  EXPECT_EQ(simulate(make_schedule(ScheduleKind::kDualPipeV, 2, 20), times).bubble(), 0);
  EXPECT_TRUE(closed_form(ScheduleKind::kDualPipe, 8, 20, times.stages[0]).exact);
}

TEST(Simulate, BubbleDoesNotGrowWithMicroBatches) {
  for (ScheduleKind kind : kScheduleKinds) {
    const double bubble = simulate(make_schedule(kind, 8, 16), {}).bubble();
    EXPECT_EQ(simulate(make_schedule(kind, 8, 200), {}).bubble(), bubble);
  }
}

TEST(Simulate, PartsSumToTheTotal) {
  StepTimes times = uniform(1.25, 1.5, 0.5, 2.75);
  times.communication = 0.125;
  times.optimizer = 4;
  for (ScheduleKind kind : kScheduleKinds) {
    const Simulation s = simulate(make_schedule(kind, 4, 12), times);
    for (const RankTimes& r : s.ranks) {
      EXPECT_EQ(r.forward.time + r.backward.time + r.backward_input.time + r.backward_weight.time +
                    r.overlapped.time + r.optimizer.time + r.bubble,
                s.total);
      EXPECT_EQ(r.optimizer.time, 4);
    }
  }
}

// Two stages, one micro-batch: F F B B with a message each way and the optimizer after all.
TEST(Simulate, WaitsForMessagesAndForTheLastGradient) {
  StepTimes times;
  times.stages = {{1, 2, 1, 4}, {3, 4, 1, 8}};
  times.communication = 0.5;
  times.optimizer = 10;
  const Simulation s = simulate(make_schedule(ScheduleKind::k1F1B, 2, 1), times);
  EXPECT_EQ(s.total, 1 + 0.5 + 3 + 5 + 0.5 + 3 + 10);
  EXPECT_EQ(s.ranks[0].bubble, 0.5 + 3 + 5 + 0.5);
  EXPECT_EQ(s.ranks[1].bubble, 1 + 0.5 + 0.5 + 3);
  EXPECT_EQ(s.spans[1][1].start, 1.5);  // F after its receive
}

TEST(Simulate, PairsOfUnequalStagesTakeTheMean) {
  StepTimes times;
  times.stages = {{1, 1, 1, 3}, {1, 1, 1, 5}};
  EXPECT_EQ(duration({OperationKind::kOverlapped, {0, 0}, {0, 1}}, times), 4);
}

TEST(Simulate, CommunicationDelaysButOccupiesNobody) {
  StepTimes times;
  times.communication = 0.25;
  for (ScheduleKind kind : kScheduleKinds) {
    const Schedule schedule = make_schedule(kind, 8, 16);
    const Simulation with = simulate(schedule, times);
    const Simulation without = simulate(schedule, {});
    EXPECT_GT(with.total, without.total);
    EXPECT_EQ(with.ranks[0].forward.time, without.ranks[0].forward.time);
  }
}

TEST(Simulate, RefusesImpossibleTimes) {
  const Schedule schedule = make_schedule(ScheduleKind::k1F1B, 2, 2);
  EXPECT_THROW(simulate(schedule, uniform(-1, 1, 1, 3)), Error);
  EXPECT_THROW(simulate(schedule, uniform(1, NAN, 1, 3)), Error);
  EXPECT_THROW(simulate(schedule, uniform(1, 1, 1, std::numeric_limits<double>::infinity())),
               Error);
  StepTimes three;
  three.stages.resize(3);
  EXPECT_THROW(simulate(schedule, three), Error);
}

}  // namespace
}  // namespace fathom::dist
