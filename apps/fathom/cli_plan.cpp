#include "command_line.h"
#include "plan.h"

namespace fathom::app {
namespace {

CLI::Option* add_model(CLI::App* sub, PlanArguments& o, bool several) {
  CLI::Option* model =
      sub->add_option("--model", o.model, "A model's name, config.json or directory")
          ->required()
          ->expected(1);
  if (several) return model->take_all()->description("The same; repeat it to compare models");
  return model;
}

CLI::Option* add_hardware(CLI::App* sub, PlanArguments& o) {
  return sub
      ->add_option("--hardware", o.hardware,
                   "A name of the catalogue; FILE.toml, or doctor's FILE.json, add to it")
      ->take_all()
      ->expected(1);
}

void add_common(CLI::App* sub, PlanArguments& o) {
  sub->add_option("--set", o.set, "What if: h800.nic_gb_s=100, or model.hidden=7000")
      ->take_all()
      ->expected(1);
  sub->add_flag("--explain", o.explain, "Show the formulas with the numbers put in");
}

CLI::Option* add_count(CLI::App* sub, const char* name, int64_t& value, const char* help) {
  return sub->add_option(name, value, help)
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->capture_default_str();
}

void add_kv_cache(CommandLine& c, CLI::App& plan) {
  CLI::App* sub = command(plan, "kv-cache", "Bytes a token; sequences that fit beside the weights");
  auto& o = options_of(c, sub, run_plan_kv_cache);
  add_model(sub, o.plan, true);
  CLI::Option* hardware = add_hardware(sub, o.plan);
  sub->add_option("--kv-bits", o.kv_bits, "Bits a cached value")
      ->check(CLI::Range(1.0, 64.0))
      ->capture_default_str();
  add_count(sub, "--gpus", o.gpus, "GPUs that share the model")->needs(hardware);
  add_count(sub, "--context", o.context, "Tokens a sequence")->needs(hardware);
  sub->add_option("--weight-bits", o.weight_bits, "Bits a weight")
      ->check(CLI::Range(1.0, 64.0))
      ->capture_default_str()
      ->needs(hardware);
  sub->add_option("--reserve", o.reserve, "Share of memory for other things")
      ->check(CLI::Range(0.0, 0.99))
      ->capture_default_str()
      ->needs(hardware);
  add_common(sub, o.plan);
}

void add_flops(CommandLine& c, CLI::App& plan) {
  CLI::App* sub = command(plan, "flops", "Operations a token costs in training and inference");
  auto& o = options_of(c, sub, run_plan_flops);
  add_model(sub, o.plan, true);
  add_count(sub, "--seq-len", o.seq_len, "Tokens a sequence");
  add_common(sub, o.plan);
}

}  // namespace

void add_plan(CommandLine& c) {
  CLI::App* plan = command(c.app, "plan", "Plan a model onto hardware: what fits, how fast, cost");
  plan->require_subcommand(1);
  add_kv_cache(c, *plan);
  add_flops(c, *plan);
  add_plan_schedule(c, *plan);
  add_plan_experts(c, *plan);
}

}  // namespace fathom::app
