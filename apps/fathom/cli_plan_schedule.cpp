#include "command_line.h"
#include "plan_schedule.h"

namespace fathom::app {
namespace {

void add_time(CLI::App* sub, const char* name, double& value, const char* help) {
  sub->add_option(name, value, help)->check(zero_or_more())->capture_default_str();
}

}  // namespace

void add_plan_schedule(CommandLine& c, CLI::App& plan) {
  CLI::App* sub = command(plan, "schedule", "Simulate pipeline schedules: bubble, activations");
  PlanScheduleArguments& o = options_of(c, sub, run_plan_schedule);
  sub->add_option("--kind", o.kind, "Schedule (default: all, side by side)")
      ->check(CLI::IsMember({"1f1b", "zb1p", "dualpipe", "dualpipev"}));
  sub->add_option("--stages", o.stages, "Stages that the network is cut into (PP)")->required();
  sub->add_option("--micro-batches", o.micro_batches, "Micro-batches a step")->required();
  add_time(sub, "--forward", o.forward, "Time of a stage's forward, in any unit (F)");
  add_time(sub, "--backward", o.backward,
           "Of its backward for the input; a full backward takes --weight more");
  add_time(sub, "--weight", o.weight, "Of its backward for the weights (W)");
  sub->add_option("--overlapped", o.overlapped,
                  "Of a forward and a full backward as one overlapped pair (F&B; default: their "
                  "sum)")
      ->check(zero_or_more());
  add_time(sub, "--communication", o.communication, "From a send to its arrival at another rank");
  add_time(sub, "--optimizer", o.optimizer, "Of the optimizer at the end of the step");
  sub->add_option("--svg", o.svg, "File to draw the timeline into");
  sub->add_option("--perfetto", o.perfetto, "File for a trace that ui.perfetto.dev opens");
  sub->add_option("--operations", o.operations, "File for the list of operations of every rank");
  sub->add_flag("--explain", o.explain, "Show the formulas with the numbers put in");
}

void add_plan_experts(CommandLine& c, CLI::App& plan) {
  CLI::App* sub =
      command(plan, "experts", "Place experts on GPUs by load, with copies of hot ones");
  PlanExpertsArguments& o = options_of(c, sub, run_plan_experts);
  sub->add_option("--load", o.load,
                  "Loads: JSON or CSV (a layer a line, an expert a column), or metrics.jsonl")
      ->required();
  sub->add_option("--replicas", o.replicas, "Physical experts a layer")->required();
  sub->add_option("--gpus", o.gpus, "GPUs that share them")->required();
  CLI::Option* groups =
      sub->add_option("--groups", o.groups, "Router groups, each kept within a node");
  CLI::Option* nodes = sub->add_option("--nodes", o.nodes, "Nodes of the GPUs");
  groups->needs(nodes);
  nodes->needs(groups);
  sub->add_option("--svg", o.svg, "File to draw the loads of all GPUs into");
  sub->add_flag("--explain", o.explain, "Show the formulas with the numbers put in");
}

}  // namespace fathom::app
