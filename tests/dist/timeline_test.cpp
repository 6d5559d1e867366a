#include "dist/timeline.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace fathom::dist {
namespace {

struct Drawn {
  Drawn(ScheduleKind kind, int stages, int micro_batches)
      : schedule(make_schedule(kind, stages, micro_batches)), simulation(simulate(schedule, {})) {}
  Timeline timeline() const {
    return {std::string(name_of(schedule.kind)), &schedule, &simulation};
  }

  Schedule schedule;
  Simulation simulation;
};

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

size_t runs(const Drawn& drawn, Part RankTimes::*part) {
  int64_t n = 0;
  for (const RankTimes& rank : drawn.simulation.ranks) n += (rank.*part).count;
  return static_cast<size_t>(n);
}

TEST(TimelineSvg, ShowsEveryChunk) {
  const Drawn zb(ScheduleKind::kZB1P, 4, 8);
  const Drawn dual(ScheduleKind::kDualPipe, 4, 8);
  const std::vector<Timeline> both = {zb.timeline(), dual.timeline()};
  const std::string svg = timeline_svg(both);
  EXPECT_EQ(count(svg, "rank 3<"), 2u);
  for (const auto& [title, part] : {std::pair("<title>F(", &RankTimes::forward),
                                    std::pair("<title>Bi(", &RankTimes::backward_input),
                                    std::pair("<title>W(", &RankTimes::backward_weight),
                                    std::pair("<title>B(", &RankTimes::backward)})
    EXPECT_EQ(count(svg, title), runs(zb, part) + runs(dual, part)) << title;
  // Above and below in one row.
  EXPECT_EQ(count(svg, "<title>FB("), 2 * runs(dual, &RankTimes::overlapped));
  EXPECT_EQ(svg, timeline_svg(both));
}

TEST(TimelineSvg, RefusesWhatNobodyCanSee) {
  const Drawn large(ScheduleKind::k1F1B, 64, 1024);
  const std::vector<Timeline> timelines = {large.timeline()};
  EXPECT_THROW(timeline_svg(timelines), Error);
}

TEST(TimelineTrace, AddsUpToTheSimulation) {
  const Drawn dual(ScheduleKind::kDualPipeV, 8, 10);
  const std::vector<Timeline> timelines = {dual.timeline()};
  const auto events = nlohmann::json::parse(timeline_trace(timelines))["traceEvents"];
  std::map<int, double> busy, end;
  int peak = 0;
  for (const auto& event : events) {
    if (event["ph"] == "X") {
      const int rank = event["tid"];
      EXPECT_GE(event["ts"].get<double>(), end[rank]);  // a rank does one thing at a time
      end[rank] = event["ts"].get<double>() + event["dur"].get<double>();
      const bool waits = event["name"].get<std::string>().starts_with("receive");
      if (!waits) busy[rank] += event["dur"].get<double>();
    }
    if (event["ph"] == "C") peak = std::max(peak, event["args"]["chunks"].get<int>());
  }
  EXPECT_EQ(peak, dual.simulation.peak_activations());
  ASSERT_EQ(busy.size(), dual.schedule.ranks.size());
  for (const auto& [rank, time] : busy)
    EXPECT_EQ(time + 1000 * dual.simulation.ranks[static_cast<size_t>(rank)].bubble,
              1000 * dual.simulation.total);
}

}  // namespace
}  // namespace fathom::dist
