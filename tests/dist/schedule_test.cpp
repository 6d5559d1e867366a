#include "dist/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "dist/schedule_check.h"
#include "dist/simulate.h"

namespace fathom::dist {
namespace {

struct Size {
  ScheduleKind kind;
  int stages, micro_batches;
};

std::vector<Size> sizes() {
  std::vector<Size> all;
  for (int stages : {1, 2, 3, 4, 7, 8, 16})
    for (int micro_batches : {1, 2, 5, 8, 20, 33})
      for (ScheduleKind kind : {ScheduleKind::k1F1B, ScheduleKind::kZB1P})
        all.push_back({kind, stages, micro_batches});
  for (int stages : {2, 4, 6, 8, 10, 16})
    for (int more : {0, 2, 4, 18}) {
      all.push_back({ScheduleKind::kDualPipe, stages, 2 * stages + more});
      all.push_back({ScheduleKind::kDualPipeV, stages, stages + more});
      all.push_back({ScheduleKind::kDualPipeV, stages, stages + more + 1});
    }
  return all;
}

std::string hint_of(ScheduleKind kind, int stages, int micro_batches) {
  try {
    make_schedule(kind, stages, micro_batches);
  } catch (const Error& e) {
    return e.hint();
  }
  return "accepted";
}

TEST(Schedule, EveryKindAndSizeIsProvenRight) {
  for (const Size& s : sizes()) {
    const Schedule schedule = make_schedule(s.kind, s.stages, s.micro_batches);
    const std::vector<std::string> problems = check_schedule(schedule);
    EXPECT_TRUE(problems.empty()) << name_of(s.kind) << " " << s.stages << "x" << s.micro_batches
                                  << ": " << problems.front();
  }
}

TEST(Schedule, RefusesIllegalSizesWithTheNearestLegalOne) {
  using enum ScheduleKind;
  const std::string nearest = "the nearest legal choice: ";
  EXPECT_EQ(hint_of(kDualPipe, 5, 20), nearest + "4 or 6 stages");
  EXPECT_EQ(hint_of(kDualPipeV, 1, 20), nearest + "2 stages");
  EXPECT_EQ(hint_of(kDualPipe, 8, 15), nearest + "16 micro-batches");
  EXPECT_EQ(hint_of(kDualPipe, 8, 17), nearest + "18 micro-batches");
  EXPECT_EQ(hint_of(kDualPipeV, 8, 7), nearest + "8 micro-batches");
  EXPECT_EQ(hint_of(kDualPipeV, 8, 9), "accepted");
  EXPECT_EQ(hint_of(k1F1B, 0, 1), nearest + "1 stages");
  EXPECT_EQ(hint_of(kZB1P, 4, -2), nearest + "1 micro-batches");
  EXPECT_EQ(hint_of(k1F1B, 1024, 65536), nearest + "2048 micro-batches");
  EXPECT_EQ(hint_of(kDualPipe, 1024, 1), nearest + "2048 micro-batches");
  EXPECT_EQ(hint_of(kDualPipe, 1024, 2048), "accepted");
  EXPECT_EQ(hint_of(kDualPipe, 1026, 2048), nearest + "1024 stages");
}

TEST(Schedule, NamesRoundTrip) {
  for (ScheduleKind kind : kScheduleKinds) EXPECT_EQ(schedule_kind_of(name_of(kind)), kind);
  EXPECT_THROW(schedule_kind_of("gpipe"), Error);
}

TEST(Schedule, Prints) {
  EXPECT_EQ(
      to_string(make_schedule(ScheduleKind::kZB1P, 2, 2)),
      "rank 0: F(0,0); send F(0,0) to 1; F(1,0); send F(1,0) to 1; receive B(0,1) from 1; "
      "Bi(0,0); W(0,0); receive B(1,1) from 1; Bi(1,0); W(1,0); optimizer\n"
      "rank 1: receive F(0,0) from 0; F(0,1); Bi(0,1); send B(0,1) to 0; "
      "receive F(1,0) from 0; F(1,1); Bi(1,1); send B(1,1) to 0; W(0,1); W(1,1); optimizer\n");
  EXPECT_EQ(to_string(make_schedule(ScheduleKind::kDualPipeV, 2, 2)),
            "rank 0: F(0,0); F(0,1); F(1,0); B(0,1); FB(1,1|0,0); B(1,1); Bi(1,0); W(1,0); "
            "optimizer\n");
}

// The eight steps of the published algorithm, counted (spec E.3): n/2 forwards and backwards a
// direction, H = PP/2 weight gradients apart at the end and H-h-1 in step 3.
TEST(Schedule, DualPipeHasThePublishedCounts) {
  const int stages = 8, half = 4, micro_batches = 20;
  const Simulation s = simulate(make_schedule(ScheduleKind::kDualPipe, stages, micro_batches), {});
  for (int rank = 0; rank < stages; ++rank) {
    const RankTimes& t = s.ranks[static_cast<size_t>(rank)];
    const int h = std::min(rank, stages - 1 - rank);
    const int middle = h == half - 1;  // runs its first pair unoverlapped
    EXPECT_EQ(t.overlapped.count, micro_batches - 2 * stages + half + h + 1 - middle);
    EXPECT_EQ(t.forward.count, micro_batches - t.overlapped.count);
    EXPECT_EQ(t.backward_weight.count, half + half - h - 1);
    EXPECT_EQ(t.backward_input.count, t.backward_weight.count);
    EXPECT_EQ(t.backward.count + t.backward_input.count + t.overlapped.count, micro_batches);
  }
}

TEST(Schedule, DualPipeIsSymmetric) {
  const Schedule s = make_schedule(ScheduleKind::kDualPipe, 8, 20);
  for (size_t rank = 0; rank < 4; ++rank) {
    const auto& here = s.ranks[rank];
    const auto& there = s.ranks[7 - rank];
    ASSERT_EQ(here.size(), there.size());
    for (size_t i = 0; i < here.size(); ++i) {
      EXPECT_EQ(here[i].kind, there[i].kind);
      EXPECT_EQ(here[i].forward.stage, there[i].forward.stage);
      EXPECT_EQ(here[i].backward.stage, there[i].backward.stage);
    }
  }
}

TEST(Schedule, LargestSizesAreFast) {
  const Schedule schedule = make_schedule(ScheduleKind::kDualPipe, 128, 1024);
  EXPECT_TRUE(check_schedule(schedule).empty());
}

/// What the checker says after one change to a right schedule.
class Damaged : public testing::Test {
 protected:
  std::string problems() const {
    std::string text;
    for (const std::string& problem : check_schedule(schedule_)) text += problem + "\n";
    return text;
  }
  std::vector<Operation>& rank(size_t rank) { return schedule_.ranks[rank]; }
  size_t find(size_t rank, OperationKind kind) const {
    const auto& list = schedule_.ranks[rank];
    const auto is_it = [kind](const Operation& o) { return o.kind == kind; };
    return static_cast<size_t>(std::find_if(list.begin(), list.end(), is_it) - list.begin());
  }
  void erase(size_t rank, OperationKind kind) {
    auto& list = schedule_.ranks[rank];
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(find(rank, kind)));
  }
  Schedule schedule_ = make_schedule(ScheduleKind::kZB1P, 4, 8);
};

TEST_F(Damaged, MissingOperations) {
  erase(2, OperationKind::kBackwardWeight);
  EXPECT_EQ(problems(), "micro-batch 0 has 1 F, 1 B and 0 W on stage 2\n");
}

TEST_F(Damaged, RepeatedOperations) {
  rank(1).insert(rank(1).begin() + 2, rank(1)[1]);
  EXPECT_EQ(problems(), "micro-batch 0 has 2 F, 1 B and 1 W on stage 1\n");
}

TEST_F(Damaged, ForgottenMessages) {
  erase(1, OperationKind::kSendActivation);
  EXPECT_NE(problems().find("0 messages like 'send F(0,1) to 2' of rank 1 are sent and 1 received"),
            std::string::npos);
  EXPECT_NE(problems().find("rank 2 never runs its operation 0, receive F(0,1) from 1: nothing has "
                            "been sent"),
            std::string::npos);
}

TEST_F(Damaged, UnreadMessages) {
  erase(2, OperationKind::kReceiveActivation);
  EXPECT_NE(problems().find("1 messages like 'send F(0,1) to 2' of rank 1 are sent and 0 received"),
            std::string::npos);
  EXPECT_NE(problems().find("its input activation is not there"), std::string::npos);
}

TEST_F(Damaged, WeightGradientsBeforeTheirInputs) {
  const size_t b = find(0, OperationKind::kBackwardInput);
  const size_t w = find(0, OperationKind::kBackwardWeight);
  std::swap(rank(0)[b], rank(0)[w]);
  EXPECT_NE(problems().find("W(0,0): its backward for the input has not run here"),
            std::string::npos);
}

// Each rank waits for the other first: every chunk and message is there once, yet none can come.
TEST_F(Damaged, Deadlocks) {
  schedule_ = make_schedule(ScheduleKind::kDualPipe, 2, 4);
  for (size_t r : {0u, 1u}) {
    const size_t wait = find(r, OperationKind::kReceiveActivation);
    std::rotate(rank(r).begin(), rank(r).begin() + static_cast<std::ptrdiff_t>(wait),
                rank(r).begin() + static_cast<std::ptrdiff_t>(wait) + 1);
  }
  EXPECT_EQ(problems(),
            "rank 0 never runs its operation 0, receive F(2,0) from 1: nothing has been sent\n"
            "rank 1 never runs its operation 0, receive F(0,0) from 0: nothing has been sent\n");
  EXPECT_THROW(simulate(schedule_, {}), Error);
}

TEST_F(Damaged, ChunksOfTwoRanks) {
  const size_t w = find(2, OperationKind::kBackwardWeight);
  rank(3).insert(rank(3).end() - 1, rank(2)[w]);
  erase(2, OperationKind::kBackwardWeight);
  EXPECT_NE(problems().find("micro-batch 0 runs on different ranks on stage 2"), std::string::npos);
}

TEST_F(Damaged, OperationsOutOfRange) {
  rank(0)[0].forward.stage = 4;
  EXPECT_EQ(problems(), "operation 'F(0,4)' of rank 0 is outside the schedule\n");
  rank(0)[0] = {OperationKind::kSendGradient, {}, {0, 0}, 4};
  EXPECT_EQ(problems(), "operation 'send B(0,0) to 4' of rank 0 is outside the schedule\n");
}

TEST_F(Damaged, Optimizers) {
  rank(3).pop_back();
  EXPECT_NE(problems().find("rank 3 does not end in its only optimizer"), std::string::npos);
  EXPECT_NE(problems().find("rank 0 never runs its operation"), std::string::npos);
}

}  // namespace
}  // namespace fathom::dist
