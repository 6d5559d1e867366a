#pragma once

#include <optional>
#include <string>

#include "options.h"

namespace fathom::app {

struct PlanScheduleArguments {
  std::string kind;  ///< empty: all, side by side
  int stages = 0, micro_batches = 0;
  double forward = 1, backward = 1, weight = 1;
  std::optional<double> overlapped;  ///< not given: the sum of its parts
  double communication = 0, optimizer = 0;
  std::string svg, perfetto, operations;  ///< files to write; empty: none
  bool explain = false;
};

struct PlanExpertsArguments {
  std::string load;
  int replicas = 0, gpus = 0;
  std::optional<int> groups, nodes;  ///< both: hierarchical; neither: global
  std::string svg;
  bool explain = false;
};

int run_plan_schedule(const GlobalOptions&, const PlanScheduleArguments&);
int run_plan_experts(const GlobalOptions&, const PlanExpertsArguments&);

}  // namespace fathom::app
