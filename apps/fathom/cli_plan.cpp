#include <fmt/format.h>

#include "cluster/train.h"
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
  sub->add_option("--svg", o.svg, "Draw it into this file");
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

CLI::Option* add_number(CLI::App* sub, const char* name, double& value, double low, double high,
                        const char* help) {
  return sub->add_option(name, value, help)->check(CLI::Range(low, high))->capture_default_str();
}

CLI::Option* add_choice(CLI::App* sub, const char* name, std::string& value,
                        const std::vector<std::string>& choices, const char* help) {
  return sub->add_option(name, value, help)->check(CLI::IsMember(choices))->capture_default_str();
}

const std::vector<std::string> kSchedules = {"1f1b", "zb1p", "dualpipe", "dualpipev"};

// What memory, train and search have in common.
void add_training(CLI::App* sub, PlanLayoutArguments& o) {
  add_count(sub, "--batch", o.batch, "Sequences a step");
  add_count(sub, "--micro-batch", o.micro_batch, "Sequences computed at once");
  add_count(sub, "--seq-len", o.seq_len, "Tokens a sequence");
  add_choice(sub, "--precision", o.precision, {"fp8", "bf16"},
             "Of weights, cached activations and gathered weights");
  add_choice(sub, "--recompute", o.recompute, {"on", "off"},
             "RMSNorm, MLA up-projections and SwiGLU again in the backward");
  add_number(sub, "--reserve", o.reserve, 0, 0.99, "Share of memory for other things");
}

void add_layout(CLI::App* sub, PlanLayoutArguments& o) {
  add_count(sub, "--gpus", o.gpus, "GPUs in all");
  add_count(sub, "--pp", o.pp, "GPUs of a pipeline");
  add_count(sub, "--ep", o.ep, "GPUs that the experts are spread over");
  add_count(sub, "--tp", o.tp, "GPUs that share attention and dense layers");
  add_choice(sub, "--schedule", o.schedule, kSchedules, "Pipeline schedule");
  add_training(sub, o);
}

CLI::Option* add_imbalance(CLI::App* sub, std::optional<double>& value, double assumed) {
  return sub
      ->add_option(
          "--expert-imbalance", value,
          fmt::format("Load of the busiest GPU's experts over the mean (default: {})", assumed))
      ->check(CLI::Range(1.0, 1000.0));
}

void add_memory(CommandLine& c, CLI::App& plan) {
  CLI::App* sub = command(plan, "memory", "Memory of each GPU in training");
  auto& o = options_of(c, sub, run_plan_memory);
  add_model(sub, o.plan, false);
  add_hardware(sub, o.plan)->required();
  add_layout(sub, o.layout);
  add_common(sub, o.plan);
}

void add_train_step(CommandLine& c, CLI::App& plan) {
  CLI::App* sub = command(plan, "train", "Step time by phase, MFU, GPU hours and cost");
  auto& o = options_of(c, sub, run_plan_train);
  add_model(sub, o.plan, false);
  add_hardware(sub, o.plan)->required();
  add_layout(sub, o.layout);
  CLI::Option* phases =
      sub->add_option("--phases", o.phases,
                      "Seconds a step to take the layers' times from: 1F=1.13,1B=1.99,1W=0.48,"
                      "1F1B=13.95 (default: the hardware's profile)");
  add_imbalance(sub, o.expert_imbalance, cluster::kTrainingImbalance)->excludes(phases);
  add_number(sub, "--tokens", o.tokens, 1, 1e18, "Tokens to train on");
  add_number(sub, "--other-gpu-hours", o.other_gpu_hours, 0, 1e12,
             "GPU hours of other stages, added to the cost");
  add_common(sub, o.plan);
}

void add_search(CommandLine& c, CLI::App& plan) {
  CLI::App* sub = command(plan, "search", "Layouts that fit: Pareto table of days, cost, memory");
  auto& o = options_of(c, sub, run_plan_search);
  add_model(sub, o.plan, false);
  add_hardware(sub, o.plan)->required();
  sub->add_option("--gpus", o.gpus, "Cluster sizes to try, separated by commas")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  sub->add_option("--schedule", o.schedules, "Schedules to try (default: all)")
      ->delimiter(',')
      ->check(CLI::IsMember(kSchedules));
  add_count(sub, "--max-tp", o.max_tp, "Largest TP to try");
  add_imbalance(sub, o.expert_imbalance, cluster::kTrainingImbalance);
  add_number(sub, "--tokens", o.tokens, 1, 1e18, "Tokens to train on");
  add_training(sub, o.layout);
  add_common(sub, o.plan);
}

// Experts over GPUs, and what of it the network's own limit has no use for.
std::vector<CLI::Option*> add_serving(CLI::App* sub, int64_t& ep, int64_t& redundant,
                                      PlanExchangeArguments& o) {
  return {add_count(sub, "--ep", ep, "GPUs that the experts are spread over"),
          sub->add_option("--redundant-experts", redundant, "Copies of experts beside the first")
              ->check(CLI::Range(0, 1 << 20))
              ->capture_default_str(),
          sub->add_option("--overlap", o.overlap,
                          "dual (default): two micro-batches hide communication behind "
                          "computation; none: nothing does")
              ->check(CLI::IsMember({"dual", "none"})),
          add_imbalance(sub, o.expert_imbalance, cluster::kExpertImbalance)};
}

void add_wire(CLI::App* sub, PlanExchangeArguments& o) {
  sub->add_option("--dispatch-bytes", o.dispatch_bytes, "Bytes a dispatched value (default: 1)")
      ->check(CLI::Range(0.1, 16.0));
  sub->add_option("--combine-bytes", o.combine_bytes, "Bytes a combined value (default: 2)")
      ->check(CLI::Range(0.1, 16.0));
}

void add_decode(CommandLine& c, CLI::App& plan) {
  CLI::App* sub = command(plan, "decode", "Time per output token; throughput of a node");
  auto& o = options_of(c, sub, run_plan_decode);
  add_model(sub, o.plan, false);
  add_hardware(sub, o.plan)->required();
  auto full = add_serving(sub, o.ep, o.redundant, o.exchange);
  full.push_back(add_count(sub, "--context", o.context, "Tokens in a sequence's cache"));
  CLI::Option* batch = sub->add_option("--batch", o.batch, "Sequences a GPU")
                           ->check(CLI::Range(int64_t{1}, int64_t{1} << 16));
  CLI::Option* speed =
      sub->add_option("--user-tokens-per-s", o.user_tokens_per_s,
                      "Take the largest batch that leaves every user this speed (default: 20)")
          ->check(above_zero())
          ->excludes(batch);
  full.insert(full.end(), {batch, speed});
  full.push_back(add_number(sub, "--kv-bits", o.kv_bits, 1, 64, "Bits a cached value"));
  full.push_back(add_number(sub, "--mtp-acceptance", o.mtp_acceptance, 0, 1,
                            "Share of drafted tokens accepted; 0: no drafting"));
  add_wire(sub, o.exchange);
  CLI::Option* limit = sub->add_flag("--network-limit", o.network_limit,
                                     "Only the bound that dispatch and combine set");
  add_count(sub, "--tokens", o.tokens, "Tokens a GPU in one micro-batch")->needs(limit);
  add_choice(sub, "--fabric", o.fabric, {"nic", "nvlink"}, "What carries them")->needs(limit);
  add_common(sub, o.plan);
  full.push_back(sub->get_option("--svg"));
  for (CLI::Option* option : full) limit->excludes(option);
}

void add_prefill(CommandLine& c, CLI::App& plan) {
  CLI::App* sub = command(plan, "prefill", "Throughput of prompts; prefill nodes a decode node");
  auto& o = options_of(c, sub, run_plan_prefill);
  add_model(sub, o.plan, false);
  add_hardware(sub, o.plan)->required();
  add_serving(sub, o.ep, o.redundant, o.exchange);
  add_count(sub, "--tokens", o.tokens, "Tokens a GPU in one micro-batch");
  add_count(sub, "--prompt", o.prompt, "Tokens of a prompt");
  add_number(sub, "--length-spread", o.length_spread, 0, 100,
             "Standard deviation of the prompts' length over its mean");
  add_number(sub, "--cache-hit", o.cache_hit, 0, 0.999, "Share of prompt tokens found in a cache");
  add_wire(sub, o.exchange);
  CLI::Option* rate = sub->add_option("--decode-tokens-per-s-node", o.decode_tokens_per_s_node,
                                      "What plan decode says of a node: for the node ratio")
                          ->check(above_zero());
  CLI::Option* output = sub->add_option("--output-tokens", o.output_tokens, "Tokens of an answer")
                            ->check(above_zero())
                            ->needs(rate);
  rate->needs(output);
  add_common(sub, o.plan);
}

}  // namespace

void add_plan(CommandLine& c) {
  CLI::App* plan = command(c.app, "plan", "Plan a model onto hardware: what fits, how fast, cost");
  plan->require_subcommand(1);
  add_kv_cache(c, *plan);
  add_flops(c, *plan);
  add_memory(c, *plan);
  add_train_step(c, *plan);
  add_decode(c, *plan);
  add_prefill(c, *plan);
  add_search(c, *plan);
  add_plan_schedule(c, *plan);
  add_plan_experts(c, *plan);
}

}  // namespace fathom::app
